"""The event stream for `portwatch events`: any number of readers on one unix socket.

A reader that does not keep up never holds up the agent: what does not fit its buffer is
dropped, and it is told how many once it reads again.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections import deque
from itertools import islice
from pathlib import Path

from portwatch.errors import KernelError
from portwatch.kernel.pins import name_for

RUN_DIRECTORY = Path("/run/portwatch")
RECENT_EVENTS = 1000
BUFFER_BYTES = 1 << 20
LINES_AT_ONCE = 64
MAX_READERS = 64
PAST_END = b'{"kind":"past-end"}'
"""A line after what is remembered, before what is new."""


def socket_path(pin_dir: Path) -> Path:
    """Where the agent of a pin directory serves its events."""
    return RUN_DIRECTORY / f"{name_for(pin_dir, 'events')}.sock"


class _Reader:
    """What waits for one reader: the lines themselves are the same for all."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.waiting: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0

    def offer(self, line: bytes) -> None:
        """Queue one line, or drop and count it."""
        if self._bytes + len(line) > BUFFER_BYTES:
            self._missed += 1
            return
        self._tell_missed()
        self._put(line)

    def flush(self) -> bool:
        """Send what the socket takes; False where the reader is gone."""
        try:
            while self.waiting:
                sent = self.connection.sendmsg(list(islice(self.waiting, LINES_AT_ONCE)))
                self._bytes -= sent
                while sent:
                    line = self.waiting.popleft()
                    if sent < len(line):
                        self.waiting.appendleft(line[sent:])
                    sent = max(sent - len(line), 0)
                if not self.waiting:
                    self._tell_missed()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _tell_missed(self) -> None:
        if self._missed:
            self._put(json.dumps({"kind": "lost", "count": self._missed}).encode() + b"\n")
            self._missed = 0

    def _put(self, line: bytes) -> None:
        self.waiting.append(line)
        self._bytes += len(line)


class EventHub:
    """Serves the socket from the agent's own loop; only root may connect."""

    def __init__(self, path: Path, selector: selectors.BaseSelector) -> None:
        self._path = path
        self._selector = selector
        self._recent: deque[bytes] = deque(maxlen=RECENT_EVENTS)
        self._readers: set[_Reader] = set()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # the lock on the pin directory says that nobody serves it
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        except OSError as err:
            raise KernelError(f"cannot serve events at {path}: {err.strerror}") from err
        finally:
            os.umask(mask)
        self._listener.listen()
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def publish(self, line: bytes) -> None:
        """Hand one line, newline included, to everybody."""
        self._recent.append(line)
        for reader in list(self._readers):
            is_behind = bool(reader.waiting)
            reader.offer(line)
            if not is_behind:  # else the loop sends, once the socket takes more
                self._send(reader)

    def close(self) -> None:
        """End all readers and remove the socket."""
        self._path.unlink(missing_ok=True)  # first, so that nobody comes who would be sent away
        self._selector.unregister(self._listener)
        self._listener.close()
        for reader in list(self._readers):
            self._drop(reader)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it went away again, or no descriptor is left: the next one may have more luck
        connection.setblocking(False)
        if len(self._readers) >= MAX_READERS:
            connection.close()
            return
        reader = _Reader(connection)
        for line in self._recent:
            reader.offer(line)
        reader.offer(PAST_END + b"\n")
        self._readers.add(reader)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._serve(reader))
        self._send(reader)

    def _serve(self, reader: _Reader) -> None:
        """The reader's socket is ready: it went away, or takes more."""
        if reader not in self._readers:
            return  # dropped since select() returned
        try:
            if reader.connection.recv(4096) == b"":
                self._drop(reader)
                return
        except BlockingIOError:
            pass
        except OSError:
            self._drop(reader)
            return
        self._send(reader)

    def _send(self, reader: _Reader) -> None:
        if not reader.flush():
            self._drop(reader)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.waiting else 0)
        if self._selector.get_key(reader.connection).events != wanted:
            self._selector.modify(reader.connection, wanted, lambda: self._serve(reader))

    def _drop(self, reader: _Reader) -> None:
        self._selector.unregister(reader.connection)
        reader.connection.close()
        self._readers.discard(reader)
