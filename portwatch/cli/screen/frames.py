"""From frame to frame: only the lines that differ are sent, as one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A terminal that knows DEC mode 2026 shows all of a frame at once; others pass over it.
BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
CLEAR, CLEAR_REST = "\x1b[2J", "\x1b[K"


@dataclass(frozen=True, slots=True)
class Line:
    """A line as terminals take it, and how many cells it fills."""

    text: str
    cells: int


class Frames:
    """Remembers what is on the screen."""

    def __init__(self) -> None:
        self._shown: list[Line] | None = None
        self._size = (0, 0)

    def forget(self) -> None:
        """The screen may hold anything: the next frame is drawn whole."""
        self._shown = None

    def draw(self, lines: Sequence[Line], size: tuple[int, int]) -> bytes:
        """What makes the screen show these lines, of which there are as many as fit; empty where it
        does already."""
        if size != self._size:
            self.forget()
        before, self._shown, self._size = self._shown, list(lines), size
        parts = [] if before is not None else [CLEAR]
        for number, line in enumerate(lines):
            if before is None or number >= len(before) or before[number] != line:
                # After a line that fills the last cell, clearing would take that cell.
                rest = CLEAR_REST if line.cells < size[0] else ""
                parts.append(f"\x1b[{number + 1};1H{line.text}{rest}")
        for number in range(len(lines), len(before or ())):
            parts.append(f"\x1b[{number + 1};1H{CLEAR_REST}")
        return (BEGIN + "".join(parts) + END).encode() if parts else b""
