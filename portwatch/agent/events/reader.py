"""One reader of a running agent's events: the other end of `hub`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from portwatch.agent.events.hub import MAX_READERS, PAST_END, socket_path
from portwatch.errors import NotLoaded, PortwatchError, PrivilegeMissing

READ_BYTES = 1 << 16


class EventReader:
    """Connected at once; NotLoaded where no agent runs on `pin_dir`, PrivilegeMissing."""

    def __init__(self, pin_dir: Path) -> None:
        path = socket_path(pin_dir)
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connection.connect(str(path))
        except PermissionError as err:
            self.close()
            raise PrivilegeMissing(f"may not read {path}", hint="run it as root") from err
        except OSError as err:
            self.close()
            raise NotLoaded(
                f"no agent runs on {pin_dir}", hint="portwatch run starts one; status shows counts"
            ) from err
        self._lines = self._read()

    def past(self) -> Iterator[bytes]:
        """The latest events that the agent remembers, JSON each; PortwatchError where it has no
        room for one more reader."""
        for line in self._lines:
            if line == PAST_END:
                return
            yield line
        raise PortwatchError(
            "the agent has ended meanwhile, or has no room for one more reader",
            hint=f"at most {MAX_READERS} read at once",
        )

    def coming(self) -> Iterator[bytes]:
        """After those: each event as it comes, until the agent ends."""
        yield from self._lines

    def close(self) -> None:
        """Read no more."""
        self._connection.close()

    def _read(self) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                data = self._connection.recv(READ_BYTES)
            except ConnectionResetError:
                return
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
