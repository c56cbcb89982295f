"""Slow and hostile clients: a scraper gets its metrics meanwhile, and memory stays where it was."""

from __future__ import annotations

import contextlib
import socket

import pytest
from product import eventually
from sandbox import Sandbox, denying
from web_clients import (
    SlowCrowd,
    address_of,
    exchange,
    resident_kib,
    scrape,
    web_connections,
)

MOST_CONNECTIONS = 64
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
ATTACKS = {
    "silence": (b"", b""),
    "one byte at a time": (GET, b"a"),
    "heads that never end": (GET + b"X: " + b"a" * 16000, b"a"),
    "bodies that never come": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"a"),
    "whole requests, kept open": (GET + b"\r\n", b""),
    "pipelining": ((GET + b"\r\n") * 200, b""),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_500_of_them(shared: Sandbox, attack: str) -> None:
    """With 500 such clients at once that come again when thrown out, scrapes succeed, connections
    and memory are bounded, and the agent ends at once."""
    # A page that fits a socket's buffer: what happens to readers of large ones is tried below.
    agent = shared.agent(shared.policy(denying(9001)), "--keep", "--max-series", 20)
    scrape(agent)
    before = resident_kib(agent)
    with SlowCrowd(agent, 500, *ATTACKS[attack]) as crowd:
        for _ in range(3):
            assert b"portwatch_enforcing 1.0" in scrape(agent), agent.log
            assert web_connections(agent) <= MOST_CONNECTIONS
            came = crowd.came
            eventually(lambda came=came: crowd.came > came, 60, "somebody has been thrown out")
        grown = resident_kib(agent) - before
        print(f"{attack}: {crowd.came} came, {grown} KiB")
        assert grown < 6 << 10, f"grown by {grown} KiB"
        assert agent.end() == 0
    assert "Traceback" not in agent.log


def test_slow_readers_of_large_answers(shared: Sandbox) -> None:
    """40 clients that each ask for another half megabyte and do not read it hold a few together."""
    policy = shared.policy(denying("20000-23999"))
    agent = shared.agent(policy, "--keep", "--max-series", 20_000)
    binder = shared.binder()
    assert {binder.bind(20000 + n) for n in range(4000)} == {"EACCES"}
    page = scrape(agent)
    assert len(page) > 400_000
    scrape(agent)
    before = resident_kib(agent)
    with contextlib.ExitStack() as stack:
        for number in range(40):  # each in another format, so that none is shared
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address_of(agent.url))
            client.sendall(GET + b"Accept: text/plain;q=0.%d\r\n\r\n" % number)
            if number % 20 == 19:
                assert len(scrape(agent)) > 400_000
        grown = resident_kib(agent) - before
    print(f"slow readers: {grown} KiB")
    assert grown < 14 << 10, f"grown by {grown} KiB"


REFUSED = {
    b"nonsense\r\n\r\n": b"400 Bad Request",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600: b"400 Bad Request",
    GET + b"X: " + b"a" * 20000: b"431 Request Header Fields Too Large",
    GET + b"X: a\r\n" * 9000 + b"\r\n": b"431 Request Header Fields Too Large",
    b"GET /" + b"a" * 20000: b"431 Request Header Fields Too Large",
    b"GET /metrics HTTP/1.1\r\n\r\n": b"400 Bad Request",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789": b"405 Method Not",
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": b"405 Method Not",
    b"GET /?" + b"a=b&" * 200 + b" HTTP/1.0\r\n\r\n": b"400 Bad Request",
    b"GET //etc/passwd HTTP/1.0\r\n\r\n": b"404 Not Found",
    b"GET /%2e%2e/metrics HTTP/1.0\r\n\r\n": b"404 Not Found",
    b"OPTIONS * HTTP/1.0\r\n\r\n": b"405 Method Not Allowed",
}


def test_what_is_no_request_is_refused(shared: Sandbox) -> None:
    """Garbage, heads without end, methods that write and bodies get their status and the end."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    for sent, status in REFUSED.items():
        got = exchange(agent.url, sent, half_close=True)
        assert got.startswith(b"HTTP/1.1 " + status), (sent[:60], got[:200])
        assert b"\r\nConnection: close\r\n" in got
    assert b"portwatch_enforcing" in scrape(agent)
    assert "Traceback" not in agent.log


def test_well_formed_oddities_are_answered(shared: Sandbox) -> None:
    """A client that has closed its side, a proxy's form, a body with GET, and two requests at once
    get what they asked for."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    assert exchange(agent.url, GET + b"\r\n", half_close=True).endswith(b"\n")
    proxied = b"GET http://example.org/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert exchange(agent.url, proxied).endswith(b"\r\n\r\nalive\n")
    body = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    assert exchange(agent.url, body).endswith(b"\r\n\r\nalive\n")
    two = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    assert exchange(agent.url, two, half_close=True).count(b"alive\n") == 2
