"""An errand that is done outside: asked for over a unix socket, behind which somebody may do more.

The agent of the systemd unit may enter no network namespace. It sends the request as an open file,
so that nothing has to wait for the other side to read it; the answer is what comes back until the
connection ends.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection

from portwatch.errors import PortwatchError

SOCKET_VARIABLE = "PORTWATCH_ERRANDS"
"""Names the socket in the agent's environment; without it children do the errands."""

MESSAGE_BYTES = 256


class ErrandConnection:
    """One errand, as node.errand has it done."""

    def __init__(self, path: str, module: str, request_fd: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.connect(path)
            socket.send_fds(self._socket, [module.encode()], [request_fd])
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Where the answer is read, without waiting."""
        return self._socket.fileno()

    def kill(self) -> None:
        """Wait for nothing more; what was started is ended by its unit's RuntimeMaxSec."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def last_words(self) -> str:
        """What there is to say where no answer came."""
        return "see journalctl -u 'portwatch-errand@*'"

    def close(self) -> None:
        """Give the connection back."""
        self._socket.close()


def take_errand(connection: int, modules: Collection[str]) -> str:
    """On the other side: which of these modules is to run. The request becomes stdin, the
    connection stdout. PortwatchError where another is asked for, or by anybody but root."""
    with socket.socket(fileno=os.dup(connection)) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) != 0:
            raise PortwatchError("errands are done for root alone")
        message, descriptors, _, _ = socket.recv_fds(peer, MESSAGE_BYTES, 1)
    module = message.decode("utf-8", "replace")
    if module not in modules or len(descriptors) != 1:
        raise PortwatchError(f"no such errand: {module}")
    os.dup2(connection, 1)
    os.dup2(descriptors[0], 0)
    os.close(descriptors[0])
    return module
