"""The items of a list, cut out of its JSON one by one as the bytes come.

A node's pods come to megabytes, of which each is needed for an instant: a list that was decoded as
a whole would take ten times that. Only what lies between items is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_OBJECT_BYTES = 4 << 20
"""etcd takes objects of 1.5 MiB; written as JSON they are a little longer."""

MAX_ENVELOPE_BYTES = 64 << 10

_NEXT = re.compile(rb'[^"{}\[\]]*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{}\[\]]))', re.DOTALL)
_IN_ITEMS, _IN_ITEM = 2, 3  # how many brackets are open


class TooLarge(ValueError):
    """More bytes than there can be of such a thing."""


class ItemStream:
    """Feed it a list's bytes; `envelope` is then the list as if it were empty."""

    def __init__(self, max_object: int = MAX_OBJECT_BYTES) -> None:
        self.envelope = bytearray()
        self.skipped = 0  # items that were longer than that
        self._max_object = max_object
        self._buffer = bytearray()
        self._at = 0  # so far the buffer has been looked through
        self._kept = 0  # from here on it is still needed
        self._depth = 0
        self._last_key = b""
        self._in_items = self._skipping = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the items that are whole now. Raises TooLarge."""
        self._buffer += piece
        while found := _NEXT.match(self._buffer, self._at):
            self._at = found.end()
            if found[1]:
                self._last_key = found[1] if self._depth == 1 else self._last_key
            elif found[2] in (b"{", b"["):
                self._open(found)
            else:
                yield from self._close(found)
        self._forget()
        if len(self._buffer) - self._at > self._max_object:
            raise TooLarge("a text in its list is too long")

    def _open(self, found: re.Match[bytes]) -> None:
        self._depth += 1
        if self._depth == _IN_ITEMS and found[2] == b"[" and self._last_key == b'"items"':
            self._in_items = True
            self._keep_envelope(found.end())
        elif self._in_items and self._depth == _IN_ITEM:
            self._kept, self._skipping = found.start(2), False

    def _close(self, found: re.Match[bytes]) -> Iterator[bytes]:
        self._depth -= 1
        if not self._in_items:
            return
        if self._depth == _IN_ITEMS:
            if self._skipping or found.end() - self._kept > self._max_object:
                self.skipped += 1
            else:
                yield bytes(self._buffer[self._kept : found.end()])
            self._kept, self._skipping = found.end(), False
        elif self._depth < _IN_ITEMS:
            self._in_items = False
            self._kept = found.start(2)

    def _forget(self) -> None:
        if not self._in_items:
            self._keep_envelope(self._at)
        elif self._depth < _IN_ITEM or self._at - self._kept > self._max_object:
            self._skipping = self._depth >= _IN_ITEM
            self._kept = self._at
        elif self._skipping:
            self._kept = self._at
        del self._buffer[: self._kept]
        self._at -= self._kept
        self._kept = 0

    def _keep_envelope(self, end: int) -> None:
        self.envelope += self._buffer[self._kept : end]
        self._kept = end
        if len(self.envelope) > MAX_ENVELOPE_BYTES:
            raise TooLarge("its list says more about itself than there can be")
