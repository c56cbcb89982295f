"""Events to stdout: JSON lines, or words for people."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from portwatch.agent.events.outlet import Outlet
from portwatch.cli.event_line import event_line

STDOUT = 1


class StdoutEvents:
    """Whole lines, in order, from a thread of its own. Where stdout's reader goes away, asks this
    process to end."""

    def __init__(self, in_words: bool) -> None:
        self._in_words = in_words
        self.outlet = Outlet(_print, self._lost)

    def write(self, event: dict[str, Any], line: bytes) -> None:
        """Print one event soon; `line` is its JSON, newline included."""
        self.outlet.write(self._words(event) if self._in_words else line)

    def _lost(self, count: int) -> bytes:
        notice = {"kind": "lost", "count": count}
        return self._words(notice) if self._in_words else json.dumps(notice).encode() + b"\n"

    def _words(self, event: dict[str, Any]) -> bytes:
        return event_line(event).encode() + b"\n"


def _print(line: bytes) -> bool:
    try:
        # Not by sys.stdout: a thread that hangs in it would hold up the process's end.
        while line:
            line = line[os.write(STDOUT, line) :]
    except OSError:
        os.kill(os.getpid(), signal.SIGTERM)
        return False
    return True
