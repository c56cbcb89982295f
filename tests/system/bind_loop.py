"""A process that binds one port as fast as it can, and counts how often it may."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
import struct
import time

COUNTS = struct.Struct("=QQ")
WAIT_SECONDS = 30


class BindLoop:
    """Running from the start; `end()` tells how many binds got through."""

    def __init__(self, port: int) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._pid = os.fork()
        if self._pid == 0:
            _bind_forever(self._memory, port)

    @property
    def attempts(self) -> int:
        """How many there were so far."""
        return int(COUNTS.unpack_from(self._memory)[0])

    def wait_for_attempts(self) -> None:
        """Until it has tried a few times more."""
        wanted, deadline = self.attempts + 5, time.monotonic() + WAIT_SECONDS
        while self.attempts < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self) -> int:
        """Stop; how many binds got through."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return int(COUNTS.unpack_from(self._memory)[1])


def _bind_forever(memory: mmap.mmap, port: int) -> None:
    tried = allowed = 0
    while True:
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
                allowed += 1
            except OSError as err:
                allowed += err.errno != errno.EACCES
        tried += 1
        COUNTS.pack_into(memory, 0, tried, allowed)
        time.sleep(0.001)
