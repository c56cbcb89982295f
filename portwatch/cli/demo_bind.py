"""The demo's workload: joins a cgroup, binds a port, says what came of it, and waits.

`python -m portwatch.cli.demo_bind CGROUP PORT`
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path


def main(cgroup: Path, port: int) -> None:
    """Live until stdin ends, so that who bound can be seen."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            print(f"bind() = -1 {errno.errorcode[err.errno or 0]} ({err.strerror})", flush=True)
        else:
            print("bind() = 0", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
