"""The test suite's stand-in for an API server, as a process: `bench.pod_server CERTIFICATE KEY`.

Prints its URL; then, for each list of pods on stdin, puts them and prints when each was told to
watches (monotonic clock), the bytes sent so far, and how many lists and watches were asked for.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    """Serve until stdin ends."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
    certificate, key = map(Path, sys.argv[1:])
    api = importlib.import_module("api_server").ApiServer(tls=(certificate, key))
    print(api.url, flush=True)
    for line in sys.stdin:
        told = [api.put(pod) for pod in json.loads(line)]
        watches = sum(one.is_watch for one in api.asked)
        facts = {
            "told": told,
            "bytes": api.sent_bytes,
            "lists": len(api.asked) - watches,
            "watches": watches,
        }
        print(json.dumps(facts), flush=True)
    api.close()


if __name__ == "__main__":
    main()
