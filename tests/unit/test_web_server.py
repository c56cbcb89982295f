"""The web server by itself, with real sockets: what no agent is needed for."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from portwatch.agent.web.addresses import open_addresses
from portwatch.agent.web.answer import Answer, Page, Query, text
from portwatch.agent.web.server import WebServer

Serve = Callable[..., tuple[str, int]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, and stops them at the end."""
    with contextlib.ExitStack() as stack:

        def start(**pages: Page) -> tuple[str, int]:
            listeners = open_addresses(["127.0.0.1:0"])
            registry = CollectorRegistry(auto_describe=False)
            for name in ("apples", "pears"):
                Counter(name, f"Counted {name}.", registry=registry).inc(3)
            server = WebServer(listeners, registry, {f"/{one}": pages[one] for one in pages})
            server.start()
            stack.callback(server.stop)
            host, port = listeners[0].getsockname()
            return host, port

        yield start


def get(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body over a new connection."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_keep_alive(serve: Serve) -> None:
    """One connection serves any number of requests, HEAD among them."""
    connection = http.client.HTTPConnection(*serve(hello=lambda query: text(query["to"])))
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/hello?to=you")
            answer = connection.getresponse()
            assert answer.headers["Content-Length"] == "4"
            assert answer.read() == (b"" if method == "HEAD" else b"you\n")
            assert connection.sock is first


def test_names_choose_samples(serve: Serve) -> None:
    """`name[]` gives the samples of that name alone."""
    _status, body = get(serve(), "/metrics?name[]=pears_total")
    assert [line for line in body.decode().splitlines() if line[0] != "#"] == ["pears_total 3.0"]


def test_a_page_that_fails_is_500(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A page's mistake is told in the log, answered, and ends nothing."""
    address = serve(bad=lambda _query: text({}["nothing"]), good=lambda _query: text("good"))
    assert get(address, "/bad")[0] == 500
    assert "a page failed" in caplog.text
    assert get(address, "/good") == (200, b"good\n")


def test_what_is_asked_twice_is_made_once(serve: Serve) -> None:
    """Requests alike that wait while a page is being made share an answer; others have theirs."""
    begun, go_on = threading.Semaphore(0), threading.Event()
    made: list[str] = []

    def slow(query: Query) -> Answer:
        made.append(query["n"])
        begun.release()
        assert go_on.wait(10)
        return text(query["n"])

    address = serve(slow=slow)
    request = b"GET /slow?n=%d HTTP/1.0\r\n\r\n"
    with contextlib.ExitStack() as stack:
        clients = []
        for number in (1, *[2] * 30, 3):
            # The loop takes connections in order, and page 1 holds up the rest.
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(request % number)
            clients.append(client)
            if number == 1:
                assert begun.acquire(timeout=10)
        go_on.set()
        answers = [read_all(client).rpartition(b"\r\n\r\n")[2] for client in clients]
    assert answers == [b"1\n", *[b"2\n"] * 30, b"3\n"]
    assert made.count("2") < 30, made


def test_without_file_descriptors(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A server that has no file descriptor left does not spin, says so once, and goes on when
    there are some."""
    address = serve(hello=lambda _query: text("hello"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(20)]
        next_free = os.dup(0)
        os.close(next_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, limits[1]))
        try:
            for client in clients:
                client.connect(address)
            while "no new connections for now: Too many open files" not in caplog.text:
                time.sleep(0.01)
            before = time.process_time()
            time.sleep(1.2)  # what is measured: a loop that spins would use all of it
            assert time.process_time() - before < 0.4
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert get(address, "/hello") == (200, b"hello\n")
    assert caplog.text.count("no new connections") == 1


def read_all(client: socket.socket) -> bytes:
    """Until the server closes."""
    got = b""
    while part := client.recv(65536):
        got += part
    return got
