"""A command on a real pseudo-terminal, and what a terminal emulator makes of its output."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyte
from product import PORTWATCH

PATIENCE_SECONDS = 30.0
Seen = TypeVar("Seen")


class TerminalScreen:
    """Runs `portwatch` with these arguments, by way of the command `before`; close it after use."""

    def __init__(
        self,
        arguments: Sequence[object],
        columns: int = 80,
        lines: int = 24,
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self._ours, self._theirs = pty.openpty()  # theirs stays open: its settings can be read
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self._set_size(columns, lines)
        self.settings_before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [*before, PORTWATCH, *map(str, arguments)],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", **environment},
            preexec_fn=_control_terminal,
        )

    @property
    def text(self) -> str:
        """All lines of the screen."""
        self.read(0)
        return "\n".join(self.screen.display)

    @property
    def settings(self) -> list[object]:
        """The terminal's settings now."""
        return termios.tcgetattr(self._theirs)

    def line_with(self, *parts: str) -> str | None:
        """The first line of the screen that has all of these; None where none has."""
        lines = self.text.splitlines()
        return next((line for line in lines if all(part in line for part in parts)), None)

    def see(self, *parts: str) -> str:
        """Wait for a line with all of these."""
        return self.wait_for(lambda: self.line_with(*parts), f"a line with {parts}")

    def wait_for(self, probe: Callable[[], Seen | None], what: str) -> Seen:
        """Read on until there is what is looked for."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := probe()):
            assert time.monotonic() < deadline, f"no {what} on:\n{self.text}"
            self.read(0.1)
        return found

    def press(self, keys: str) -> None:
        """What a person types."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """As a window manager does."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def read(self, seconds: float) -> bytes:
        """What it writes within that time, up to the first pause."""
        got = b""
        while select.select([self._ours], [], [], seconds)[0]:
            data = os.read(self._ours, 65536)
            got += data
            self._stream.feed(data)
            seconds = 0
        self.output += got
        return got

    def ended(self) -> int:
        """Wait for its end: the status, negative for a signal."""
        self.wait_for(lambda: self.process.poll() is not None, "end")
        self.read(0.1)
        return int(self.process.returncode)

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def _control_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
