"""Sockets that bind, listen or connect more than once: a port that the kernel picks anew is judged
anew, one that a task named stays judged."""

from __future__ import annotations

import pytest
from binder import Binder
from guard import Guard

PORT, FIRST = 9000, 40000
TCP = ("socket", "tcp", "ipv4")
LISTEN = ("listen",)
BY_NUMBER, BY_KERNEL = ("bind", "127.0.0.1", PORT), ("bind", "127.0.0.1", 0)
KEPT = """
version: 1
mode: enforce
errno: EPERM
constraints:
  - {name: kept, deny: [9000]}
"""
OPEN = KEPT.replace("9000", "9")
RECORDED = {("kept", "/", PORT, "tcp", "recorded"): 1}


def serve(binder: Binder) -> None:
    """Something to connect to, before anything is counted."""
    stand = binder.take(TCP, ("bind", "127.0.0.1", 8000), LISTEN, name="server")
    assert stand.listening


@pytest.mark.parametrize("first", [BY_NUMBER, BY_KERNEL])
def test_a_second_bind(first: tuple[str, str, int], guard: Guard, binder: Binder) -> None:
    """A bound socket cannot be bound again: the kernel's EINVAL where the policy has nothing
    against it, the policy's errno where it has; the first port stays."""
    binder.pick_from(PORT, PORT)
    guard.publish(KEPT.replace("9000", "9001"))
    assert binder.take(TCP, first).port == PORT
    for port, said in ((9001, "EPERM"), (9002, "EINVAL"), (PORT, "EINVAL")):
        stand = binder.take(("bind", "127.0.0.1", port))
        assert (stand.said, stand.port) == (said, PORT)
    assert guard.verdicts() == {"allowed": 3, "denied": 1}


@pytest.mark.parametrize("first", [BY_NUMBER, BY_KERNEL])
def test_a_second_listen(first: tuple[str, str, int], guard: Guard, binder: Binder) -> None:
    """listen() on a socket that listens changes its backlog and is counted no second time."""
    binder.pick_from(PORT, PORT)
    guard.publish(KEPT.replace("deny", "mode: record, deny"))
    stand = binder.take(TCP, first, LISTEN, LISTEN, LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.verdicts() == {"recorded": 1}
    assert guard.violations == RECORDED


def test_listening_again_on_a_port_by_number(guard: Guard, binder: Binder) -> None:
    """A socket keeps the port that its task named when it stops listening, and starts again with
    no other bind."""
    guard.publish(OPEN)
    stand = binder.take(TCP, BY_NUMBER, LISTEN, ("shut down",), LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.verdicts() == {"allowed": 1}


@pytest.mark.parametrize("first", [(), (BY_KERNEL,)], ids=["listen()", "bind() to port 0"])
def test_listening_again_on_another_port(
    first: tuple[tuple[str, str, int], ...], guard: Guard, binder: Binder
) -> None:
    """A socket that stops listening gives a picked port back; the one that the kernel picks when
    it listens again is judged as well."""
    guard.publish(KEPT)
    binder.pick_from(FIRST, FIRST)
    assert binder.take(TCP, *first, LISTEN).port == FIRST
    assert (guard.verdicts(), guard.violations) == ({"allowed": 1}, {})
    binder.pick_from(PORT, PORT)
    stand = binder.take(("shut down",), LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.violations == RECORDED
    assert guard.verdicts()["recorded"] == 1


def test_a_client_that_turns_server(guard: Guard, binder: Binder) -> None:
    """A client that disconnects and listens is judged by the port that it listens on."""
    serve(binder)
    guard.publish(KEPT)
    binder.pick_from(FIRST, FIRST)
    assert binder.take(TCP, BY_KERNEL, ("connect", "127.0.0.1", 8000)).port == FIRST
    assert (guard.verdicts(), guard.violations) == ({"allowed": 1}, {})
    binder.pick_from(PORT, PORT)
    stand = binder.take(("disconnect",), LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.violations == RECORDED


def test_a_client_by_number_that_turns_server(guard: Guard, binder: Binder) -> None:
    """A client's port that its task named stays its own, and was judged when it was bound."""
    serve(binder)
    guard.publish(OPEN)
    steps = (BY_NUMBER, ("connect", "127.0.0.1", 8000), ("disconnect",), LISTEN)
    stand = binder.take(TCP, *steps)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.verdicts() == {"allowed": 1}


def test_a_refused_socket_may_try_another_port(guard: Guard, binder: Binder) -> None:
    """A refusal leaves the socket as it was: unbound, and good for another port or another try."""
    guard.publish(KEPT)
    assert binder.take(TCP, BY_NUMBER).said == "EPERM"
    assert binder.take(BY_NUMBER).said == "EPERM"
    stand = binder.take(("bind", "127.0.0.1", 9001), LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", 9001, True)
    assert guard.verdicts() == {"denied": 2, "allowed": 1}


@pytest.mark.needs("POST_DENY")
def test_a_refused_picked_port_then_listen(guard: Guard, binder: Binder) -> None:
    """A socket that was refused the picked port and listens all the same gets its port from
    listen(), and is recorded."""
    binder.pick_from(PORT, PORT)
    guard.publish(KEPT)
    assert binder.take(TCP, BY_KERNEL).said == "EPERM"
    stand = binder.take(LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.verdicts() == {"denied": 1, "recorded": 1}


def test_accepted_connections_are_no_binds(guard: Guard, binder: Binder) -> None:
    """A connection shares its listener's port and is counted nowhere."""
    guard.publish(OPEN)
    assert binder.take(TCP, BY_NUMBER, LISTEN, name="server").listening
    assert binder.take(TCP, ("connect", "127.0.0.1", PORT)).said == "ok"
    accepted = binder.take(("accept", "server"), name="accepted")
    assert (accepted.said, accepted.port) == ("ok", PORT)
    assert guard.verdicts() == {"allowed": 1}
