"""The terminal while it is ours: no echo, another screen, no cursor; and given back whatever
happens."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from types import TracebackType

ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The alternate screen, no cursor, no wrapping, nothing on it."""
LEAVE = b"\x1b[?2026l\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class Terminal:
    """What is read from and written to; a context manager. `keys` and `out` are descriptors."""

    def __init__(self, keys: int = 0, out: int = 1) -> None:
        self.keys = keys
        self._out = out
        self._before = termios.tcgetattr(keys)
        self._is_ours = False

    def __enter__(self) -> Terminal:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()

    def take(self) -> None:
        """Make it ours, once more after a stop."""
        # At once, not when all that was written has arrived: a terminal may be slow.
        tty.setcbreak(self.keys, termios.TCSANOW)
        self._is_ours = True
        self.write(ENTER)

    def give_back(self) -> None:
        """As it was; a signal meanwhile waits. A terminal that is gone needs nothing."""
        if not self._is_ours:
            return
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            self._is_ours = False
            with contextlib.suppress(OSError):
                self.write(LEAVE)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keys, termios.TCSANOW, self._before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 by 24 where it does not say."""
        try:
            found = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def write(self, data: bytes) -> None:
        """All of it, in one call where the terminal takes it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._out, rest) :]
