"""The bytes of one connection, as they are; `tls_stream` has them encrypted."""

from __future__ import annotations

import socket


class Gone(Exception):
    """Nothing more can come of this connection."""


class Waits(Exception):
    """Nothing goes on before the socket is ready for `events` (of `selectors`), whatever it is
    that was asked for."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.events = events


class Stream:
    """Not blocking: what cannot be done now raises BlockingIOError or Waits, a connection that has
    ended OSError or Gone."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted

    def begin(self) -> None:
        """Do what comes before the first request."""

    def read(self, size: int) -> bytes:
        """As many bytes as there are, `size` at most; none where the client sends no more."""
        return self.socket.recv(size)

    def write(self, data: memoryview) -> int:
        """How many of the bytes were taken."""
        return self.socket.send(data)

    def end(self) -> None:
        """Say that nothing more is sent."""
        self.socket.shutdown(socket.SHUT_WR)
