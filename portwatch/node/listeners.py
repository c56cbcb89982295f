"""What listens now in this network namespace, and whose it is.

Run as a process of its own (`python -m portwatch.node.listeners`), so that psutil's memory is
not the agent's; prints a JSON list.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass

from portwatch.errors import PortwatchError

LISTING_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Listener:
    """A listening TCP or bound UDP socket. `pid` None: nobody who may be seen holds it."""

    protocol: str
    address: str
    port: int
    pid: int | None
    comm: str | None


def find_listeners() -> list[Listener]:
    """What listens now; PortwatchError where the listing fails."""
    command = [sys.executable, "-m", "portwatch.node.listeners"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LISTING_TIMEOUT_SECONDS, check=True
        )
        return [Listener(**fields) for fields in json.loads(done.stdout)]
    except (subprocess.SubprocessError, ValueError, TypeError) as err:
        raise PortwatchError(f"cannot list what listens now: {err}") from err


def _list() -> list[Listener]:
    import psutil

    found = []
    for connection in psutil.net_connections(kind="inet"):
        is_tcp = connection.type == socket.SOCK_STREAM
        listens = connection.status == psutil.CONN_LISTEN if is_tcp else not connection.raddr
        if not listens or not connection.laddr:
            continue
        found.append(
            Listener(
                "tcp" if is_tcp else "udp",
                connection.laddr.ip,
                connection.laddr.port,
                connection.pid,
                _comm(connection.pid),
            )
        )
    return sorted(found, key=lambda one: (one.protocol, one.port, one.address))


def _comm(pid: int | None) -> str | None:
    import psutil

    if pid is None:
        return None
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return None


if __name__ == "__main__":
    print(json.dumps([asdict(listener) for listener in _list()]))
