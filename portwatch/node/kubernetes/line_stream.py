"""The lines of a watch, cut as the bytes come; one that is too long is left out."""

from __future__ import annotations

from collections.abc import Iterator


class LineStream:
    """Feed it bytes; never holds more than one line of that length."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._skipping = False
        self._skipped = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that are whole now, without empty ones."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            line = bytes(self._rest + end)
            self._rest.clear()
            if self._skipping or len(line) > self._max_bytes:
                self._skipping = False
                self._skipped += 1
            elif line.strip():
                yield line
        self._rest += b"" if self._skipping else rest
        if len(self._rest) > self._max_bytes:
            self._rest.clear()
            self._skipping = True

    def take_skipped(self) -> int:
        """Return how many were left out since the last time."""
        skipped, self._skipped = self._skipped, 0
        return skipped
