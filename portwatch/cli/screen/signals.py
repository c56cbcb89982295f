"""Signals while the screen is ours: those that end it do so cleanly, others wait for the loop."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType, TracebackType

NOTED = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
ENDING = (signal.SIGTERM, signal.SIGHUP)


class Signals:
    """A context manager; `fileno()` is readable when there is something in `taken()`."""

    def __init__(self) -> None:
        self._noted: set[int] = set()

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._note) for number in NOTED}
        self._before |= {number: signal.signal(number, _end) for number in ENDING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """For select() and its kin."""
        return self._read

    def taken(self) -> set[int]:
        """Those of NOTED that came since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        noted, self._noted = self._noted, set()
        return noted

    def stop(self) -> None:
        """Do what SIGTSTP is for; returns once somebody has said to go on."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.add(number)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
