"""Events to stdout from a thread of its own: a reader that stalls never holds up the agent.

What does not fit its buffer is dropped, and told as lost once the reader reads again.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from types import TracebackType

STDOUT = 1
BUFFERED_LINES = 10_000
GOODBYE_SECONDS = 1.0


class StdoutEvents:
    """Writes whole lines, in order. Where stdout's reader goes away, asks this process to end."""

    def __init__(self) -> None:
        self._lines: queue.Queue[bytes] = queue.Queue(BUFFERED_LINES)
        self._missed = 0
        self._ended = False
        self._thread = threading.Thread(target=self._print, daemon=True)

    def __enter__(self) -> StdoutEvents:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the reader a moment to take what is left."""
        self._ended = True
        self.write(b"")
        self._thread.join(GOODBYE_SECONDS)

    def write(self, line: bytes) -> None:
        """Print one line, newline included, soon; returns at once."""
        try:
            if self._missed:
                notice = {"kind": "lost", "count": self._missed}
                self._lines.put_nowait(json.dumps(notice).encode() + b"\n")
                self._missed = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._missed += bool(line)

    def _print(self) -> None:
        while not (self._ended and self._lines.empty()):
            line = self._lines.get()
            try:
                # Not by sys.stdout: a thread that hangs in it would hold up the process's end.
                while line:
                    line = line[os.write(STDOUT, line) :]
            except OSError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
