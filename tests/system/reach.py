"""Opens each path for writing, or connects to it; exit status 1 where that works for any."""

import os
import socket
import sys


def reach(path: str) -> None:
    """OSError where it is out of reach."""
    if "/run/" in path:
        socket.socket(socket.AF_UNIX).connect(path)
    else:
        os.close(os.open(path, os.O_RDWR | (0 if path.endswith("/mem") else os.O_CREAT), 0o600))


reached = []
for path in sys.argv[1:]:
    try:
        reach(path)
    except OSError:
        continue
    reached.append(path)
print("reached:", *reached)
sys.exit(bool(reached))
