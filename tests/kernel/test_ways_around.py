"""Attempts to get around the policy, each of which worked on some version or still has a name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from beside import attached, overruling
from binder import Binder
from guard import Guard
from ways import NO_PORT, REUSE_PORT, V6ONLY, Option

from portwatch.kernel import hooks, layout
from portwatch.kernel.uncovered import uncovered

PORT = 40000
LISTEN = ("listen",)
KEPT = f"""
version: 1
mode: enforce
errno: EPERM
constraints:
  - {{name: kept, deny: [{PORT}]}}
"""
NOT_LISTED = "version: 1\nmode: enforce\nerrno: EPERM\ndefault: deny\n"
CHOOSE: Option = (socket.IPPROTO_IP, 51, PORT | PORT << 16)  # IP_LOCAL_PORT_RANGE
BECOME_IPV4: Option = (socket.IPPROTO_IPV6, 1, socket.AF_INET)  # IPV6_ADDRFORM
ROUNDS = 50_000  # of which 30 or so won, while there was something to win
NO_SUCH_OPTION = ("option", "ENOPROTOOPT")  # IP_LOCAL_PORT_RANGE is Linux 6.3's
NO_MEMORY = ("use up memory",)


@pytest.mark.needs("POST_DENY")
@pytest.mark.parametrize(("protocol", "address"), [("tcp", "127.0.0.1"), ("udp", "::1")])
def test_choosing_the_port_that_is_picked(
    protocol: str, address: str, guard: Guard, binder: Binder
) -> None:
    """IP_LOCAL_PORT_RANGE lets a user choose what port 0 becomes, within the ephemeral range: a
    list that denies the port refuses it all the same."""
    family = "ipv6" if ":" in address else "ipv4"
    binder.drop_privileges()
    guard.publish(KEPT)
    made = ("socket", protocol, family), ("option", *CHOOSE)
    stand = binder.take(*made, ("bind", address, 0))
    if (stand.failed, stand.said) == NO_SUCH_OPTION:
        return
    assert (stand.said, stand.port) == ("EPERM", 0)
    assert guard.violations == {("kept", "/", PORT, protocol, "denied"): 1}


def test_choosing_the_port_past_a_silent_default(guard: Guard, binder: Binder) -> None:
    """Of a chosen port `default` and `otherwise` say nothing while it does not listen, which UDP
    never does: what has to be kept from UDP clients as well, a list has to deny."""
    binder.drop_privileges()
    guard.publish(NOT_LISTED)
    made = ("socket", "udp", "ipv4"), ("option", *CHOOSE)
    stand = binder.take(*made, ("bind", "127.0.0.1", 0))
    if (stand.failed, stand.said) == NO_SUCH_OPTION:
        return
    assert stand.port == PORT
    assert guard.verdicts() == {"allowed": 1}
    assert binder.bind(PORT, protocol="udp") == "EPERM"
    guard.publish(NOT_LISTED + "constraints: [{name: fixed, deny: [ephemeral/udp]}]\n")
    assert binder.take(*made, ("bind", "127.0.0.1", 0)).said == "EPERM"


def test_no_memory_for_a_mark(guard: Guard, binder: Binder) -> None:
    """A user who uses up the memory that the kernel grants a socket's options, and with it that
    of portwatch's mark on it, does not get a denied port by port 0."""
    binder.pick_from(PORT, PORT)
    binder.drop_privileges()
    guard.publish(KEPT)
    assert binder.take(("socket", "udp", "ipv6"), NO_MEMORY).said == "ok"
    stand = binder.take(("bind", "::", 0))
    assert (stand.failed, stand.port) == ("bind", 0)
    assert guard.verdicts().get("allowed", 0) == 0


def test_a_socket_that_changes_its_family(guard: Guard, binder: Binder) -> None:
    """An IPv6 socket that becomes an IPv4 one between bind() and listen() is retracted under the
    family that it was counted in."""
    server = ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", 8000), LISTEN
    assert binder.take(*server, name="server").listening
    binder.pick_from(PORT, PORT)
    guard.publish(KEPT)
    steps = (
        ("socket", "tcp", "ipv6"),
        ("option", *NO_PORT),
        ("bind", "::ffff:127.0.0.1", 0),
        ("connect", "::ffff:127.0.0.1", 8000),
        ("option", *BECOME_IPV4),
        ("disconnect",),
        LISTEN,
    )
    stand = binder.take(*steps)
    assert (stand.said, stand.address, stand.port) == ("ok", "127.0.0.1", PORT)
    assert stand.listening
    assert guard.binds == {("recorded", "tcp", "ipv4"): 1}


def test_a_socket_that_opens_to_ipv4(guard: Guard, binder: Binder) -> None:
    """A v6-only socket that is made dual-stack between bind() and listen() is judged as what it
    listens on."""
    binder.pick_from(PORT, PORT)
    guard.publish(KEPT.replace("deny", "addresses: [0.0.0.0/32], deny"))
    steps = (
        ("socket", "tcp", "ipv6"),
        ("option", *V6ONLY),
        ("option", *NO_PORT),
        ("bind", "::", 0),
        ("option", *V6ONLY[:2], 0),
        LISTEN,
    )
    assert binder.take(*steps).listening
    assert guard.binds == {("recorded", "tcp", "ipv6"): 1}
    (event,) = guard.events()
    assert (event.port, event.scope) == (PORT, layout.SCOPE_DUAL)


@pytest.mark.needs("POST_DENY")
def test_a_race_to_open_to_ipv4(guard: Guard, binder: Binder, native_calls: Path) -> None:
    """A second thread that makes the socket dual-stack while bind() is under way does not get an
    IPv4 wildcard that is denied."""
    binder.ask(do="native", path=str(native_calls))
    binder.drop_privileges()
    guard.publish(KEPT.replace("deny", "addresses: [0.0.0.0/32], deny"))
    assert binder.ask(do="race", port=PORT, rounds=ROUNDS) == 0
    assert sum(guard.verdicts().values()) == ROUNDS


@pytest.mark.needs("POST_DENY")
@pytest.mark.parametrize("first", [9000, 0])
def test_a_bind_that_failed_before(first: int, guard: Guard, binder: Binder) -> None:
    """A bind that the kernel refused leaves nothing on the socket that helps its next one."""
    assert (
        binder.take(("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", 9000), name="it").said == "ok"
    )
    binder.pick_from(9000, 9000)
    guard.publish(KEPT)
    tried = binder.take(("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", first))
    assert (tried.said, tried.port) == ("EADDRINUSE", 0)
    assert binder.take(("bind", "127.0.0.1", PORT)).said == "EPERM"
    binder.pick_from(PORT, PORT)
    assert binder.take(("bind", "127.0.0.1", 0)).said == "EPERM"
    assert guard.verdicts() == {"allowed": 1, "denied": 2}


def test_a_share_after_an_ordinary_bind(guard: Guard, binder: Binder) -> None:
    """Who has had the port before, by itself, is told of like anybody when it then shares it."""
    owner, thief = guard.make("/owner"), guard.make("/thief")
    tcp, here = ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", PORT)
    shared = ("option", *REUSE_PORT)
    guard.publish("version: 1\n")
    binder.move(thief)
    assert binder.take(tcp, here).port == PORT
    binder.forget()
    binder.move(owner)
    everywhere = tcp, shared, ("bind", "0.0.0.0", PORT), LISTEN
    assert binder.take(*everywhere, name="owner").listening
    guard.events()
    binder.move(thief)
    assert binder.take(tcp, shared, here, LISTEN, name="thief").listening
    told = [event.cgroup for event in guard.events() if event.kind == layout.EVENT_SHARED]
    assert told == [thief.stat().st_ino]


@pytest.mark.needs("SET_RETVAL")
def test_a_program_beside_portwatch_overrules_it(guard: Guard, binder: Binder) -> None:
    """A BPF program that runs later can waive a refusal, as root can remove it: the denial is
    counted and told, and the gap `rewritten` names it."""
    guard.publish(KEPT)
    with attached(guard.cgroup, hooks.ATTACH_INET4_BIND, overruling()):
        stand = binder.take(("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", PORT), LISTEN)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.violations == {("kept", "/", PORT, "tcp", "denied"): 1}
    assert "rewritten" in uncovered(0, set())
