"""Processes by name, as the events of a running agent tell them; nothing where none runs."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import time
from pathlib import Path

from portwatch.agent.events.hub import socket_path

RETRY_SECONDS = 5.0
READ_BYTES = 1 << 16
AT_ONCE = 8  # reads of READ_BYTES: the screen stays quick whatever comes
MAX_NAMES = 4096

Place = tuple[str, str, int]
"""Workload, protocol, port."""


class Told:
    """Call `tick()` now and then; the socket is read by whoever runs the selector."""

    def __init__(self, pin_dir: Path, selector: selectors.BaseSelector) -> None:
        self.processes: dict[Place, str] = {}
        self._path = socket_path(pin_dir)
        self._selector = selector
        self._connection: socket.socket | None = None
        self._rest = b""
        self._due = 0.0

    def tick(self) -> None:
        """Connect where an agent has come."""
        now = time.monotonic()
        if self._connection is not None or now < self._due:
            return
        self._due = now + RETRY_SECONDS
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(self._path))
        except OSError:  # no agent, or one too busy to answer: names are missing, no counts
            connection.close()
            return
        self._connection, self._rest = connection, b""
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def close(self) -> None:
        """Leave the agent alone."""
        if self._connection is not None:
            self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            if self._connection is None:
                return
            try:
                data = self._connection.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._learn(line)

    def _learn(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # of another version's agent
            event = json.loads(line)
            process, bind = event["process"], event["bind"]
            place = (event["workload"]["name"], bind["protocol"], bind["port"])
            self.processes.pop(place, None)
            self.processes[place] = f"{process['comm']}[{process['pid']}]"
            if len(self.processes) > MAX_NAMES:
                del self.processes[next(iter(self.processes))]
