"""A connection to an engine that ends in time and in size, whatever the engine does.

An engine that trickles its answer, or never stops, costs one thread for REPLY_SECONDS at most.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from portwatch.errors import EngineFailed
from portwatch.node.engines.sockets import EngineSocket, unfit

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
REPLY_SECONDS = 5.0
REPLY_BYTES = 8 << 20

PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid


class EngineStream(socket.socket):
    """Connected; each read is bounded by READ_SECONDS, all since `begin()` by REPLY_SECONDS."""

    def __init__(self, engine: EngineSocket) -> None:
        """Connect to an engine; OSError, or EngineFailed where the socket may not be asked."""
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reason = unfit(engine)
            if reason:
                raise EngineFailed(reason)
            self.settimeout(CONNECT_SECONDS)
            self.connect(str(engine.path))
            # Who listens, not who owns the file: that one may have changed since unfit().
            uid = PEER.unpack(self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[1]
            if uid != engine.owner_uid:
                raise EngineFailed(f"uid {uid} listens there, not uid {engine.owner_uid}")
        except BaseException:
            self.close()
            raise
        self.begin()

    def begin(self) -> None:
        """Allow one more question its time and its bytes."""
        self._deadline = time.monotonic() + REPLY_SECONDS
        self._bytes_left = REPLY_BYTES
        self.settimeout(READ_SECONDS)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As a socket does; TimeoutError when time is up, EngineFailed when it is too much."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(min(left, READ_SECONDS))
        count = super().recv_into(buffer, nbytes, flags)
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise EngineFailed(f"it answers with more than {REPLY_BYTES >> 20} MiB")
        return count


def failure(err: Exception, protocol: str) -> EngineFailed:
    """Return what went wrong with an engine that should have spoken `protocol`, in one line."""
    if isinstance(err, TimeoutError):
        return EngineFailed("no answer in time")
    if isinstance(err, ConnectionRefusedError):
        return EngineFailed("nothing listens there")
    if isinstance(err, OSError):
        return EngineFailed(err.strerror or str(err) or "it hung up")
    return EngineFailed(f"it does not speak {protocol} as it should, or it hung up half-way")
