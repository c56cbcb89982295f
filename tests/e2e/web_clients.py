"""Clients that an HTTP server would rather not have, and one that just wants its metrics."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from product import AgentProcess


def address_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def scrape(agent: AgentProcess) -> bytes:
    """One whole /metrics over a new connection, within a scraper's ten seconds."""
    connection = http.client.HTTPConnection(*address_of(agent.url), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def exchange(url: str, sent: bytes, *, half_close: bool = False) -> bytes:
    """Everything that a plain connection gets back for these bytes until the server closes it."""
    with socket.create_connection(address_of(url), timeout=10) as client:
        client.sendall(sent)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        got = b""
        while part := client.recv(65536):
            got += part
        return got


def resident_kib(agent: AgentProcess) -> int:
    """The agent's resident memory."""
    for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def web_connections(agent: AgentProcess) -> int:
    """TCP connections that the agent has, its listening socket aside."""
    _host, port = address_of(agent.url)
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = f":{port:04X}"
    held = {line.split()[9] for line in lines if line.split()[1].endswith(local)}
    links = [
        str(link.readlink())
        for link in Path(f"/proc/{agent.pid}/fd").iterdir()
        if link.is_symlink()
    ]
    return sum(f"socket:[{inode}]" in links for inode in held) - 1


class SlowCrowd:
    """`count` clients: each sends `begin`, then a byte of `more` every tenth of a second, and comes
    again when it is thrown out."""

    def __init__(self, agent: AgentProcess, count: int, begin: bytes, more: bytes) -> None:
        self._address = address_of(agent.url)
        self._count, self._begin, self._more = count, begin, more
        self._clients: list[socket.socket] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.came = 0

    def __enter__(self) -> SlowCrowd:
        """All have come once."""
        while self.came < self._count:
            self._come()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """All go."""
        self._end.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _come(self) -> None:
        client = socket.socket()
        client.settimeout(10)
        self._clients.append(client)
        with contextlib.suppress(OSError):
            client.connect(self._address)
            self.came += 1
            client.sendall(self._begin)

    def _run(self) -> None:
        while not self._end.wait(0.1):
            for client in self._thrown_out():
                self._clients.remove(client)
                client.close()
                self._come()
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.send(self._more)

    def _thrown_out(self) -> Iterator[socket.socket]:
        poll = select.poll()
        for client in self._clients:
            poll.register(client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        gone = {number for number, _ in poll.poll(0)}
        yield from [client for client in self._clients if client.fileno() in gone][:50]
