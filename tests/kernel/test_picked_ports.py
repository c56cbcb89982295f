"""Ports that the kernel picks: let through, refused by a list, and free again after a refusal."""

from __future__ import annotations

import pytest
from binder import Bind, Binder
from guard import Guard
from refusals import heard

N = 23


def policy(*constraints: str, head: str = "") -> str:
    """An enforced policy of these constraints."""
    lines = "".join(f"  - {{{constraint}}}\n" for constraint in constraints)
    return f"version: 1\nmode: enforce\n{head}\nconstraints:\n{lines}"


ADDRESSES = pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite", "mptcp"])


@ADDRESSES
@PROTOCOLS
def test_ephemeral_in_a_deny_list(
    address: str, protocol: str, guard: Guard, binder: Binder
) -> None:
    """`ephemeral` in a deny list refuses port 0, with its errno, and no port by number."""
    guard.publish(policy("name: fixed, errno: EADDRNOTAVAIL, deny: [ephemeral]"))
    binds = [Bind(0, address, protocol), Bind(40000, address, protocol)]
    assert [a.said for a in binder.answers(binds, N)] == [heard("EADDRNOTAVAIL"), "ok"] * N
    assert guard.verdicts() == {"denied": N, "allowed": N}
    counted = "tcp" if protocol == "mptcp" else protocol
    assert guard.violations == {("fixed", "/", 0, counted, "denied"): N}
    event = guard.events()[0]
    assert (event.port, event.requested_port) == (0, 0)


@ADDRESSES
def test_ephemeral_in_an_allow_list(address: str, guard: Guard, binder: Binder) -> None:
    """`ephemeral` in an allow list lets port 0 through, and no number of the range with it."""
    guard.publish(policy("name: clients, allow: [ephemeral]", "name: late, deny: [ephemeral]"))
    binds = [Bind(0, address), Bind(40000, address)]
    assert [a.said for a in binder.answers(binds, N)] == ["ok", heard()] * N
    assert guard.verdicts() == {"allowed": N, "denied": N}
    assert guard.violations == {("clients", "/", 40000, "tcp", "denied"): N}


@pytest.mark.needs("POST_DENY")
@ADDRESSES
@PROTOCOLS
def test_a_picked_port_that_a_deny_list_names_is_refused(
    address: str, protocol: str, guard: Guard, binder: Binder
) -> None:
    """Where the kernel picks a denied port the bind fails with the chosen errno, is counted once
    under the real port, and its event tells that the port was not asked for."""
    guard.publish(policy("name: kept, errno: EADDRINUSE, deny: [40000]"))
    binder.pick_from(40000, 40000)
    assert [a.said for a in binder.answers([Bind(0, address, protocol)], N)] == ["EADDRINUSE"] * N
    counted, family = (
        "tcp" if protocol == "mptcp" else protocol,
        "ipv6" if ":" in address else "ipv4",
    )
    assert guard.binds == {("denied", counted, family): N}
    assert guard.violations == {("kept", "/", 40000, counted, "denied"): N}
    event = guard.events()[0]
    assert (event.port, event.requested_port, event.pid) == (40000, 0, binder.pid)
    binder.pick_from(40001, 40001)
    assert binder.answer(Bind(0, address, protocol)).port == 40001


@pytest.mark.needs("POST_DENY")
@ADDRESSES
@PROTOCOLS
def test_a_refused_picked_port_is_free_again(
    address: str, protocol: str, guard: Guard, binder: Binder
) -> None:
    """After a refusal the kernel holds neither the port nor anything that another bind meets."""
    guard.publish(policy("name: kept, deny: [40000]"))
    binder.pick_from(40000, 40000)
    assert binder.bind(0, address, protocol=protocol) == "EACCES"
    guard.publish(policy("name: other, deny: [50000]"))
    assert binder.answer(Bind(40000, address, protocol, hold=True)).said == "ok"
    assert binder.bind(40000, address, protocol=protocol) == "EADDRINUSE"


def test_a_picked_port_is_recorded_where_the_policy_only_records(
    guard: Guard, binder: Binder
) -> None:
    """In record mode a picked port that a deny list names is let through and recorded once."""
    guard.publish(policy("name: kept, mode: record, deny: [40000]"))
    binder.pick_from(40000, 40000)
    assert [a.port for a in binder.answers([Bind(0)], N)] == [40000] * N
    assert guard.verdicts() == {"recorded": N}
    assert guard.violations == {("kept", "/", 40000, "tcp", "recorded"): N}


@pytest.mark.needs("POST_DENY")
def test_picked_ports_by_address_and_user(guard: Guard, binder: Binder) -> None:
    """A picked port is judged by the address and the user that asked for it."""
    guard.publish(
        policy("name: kept, for: {user: alice}, addresses: [10.0.0.0/8, 0.0.0.0/32], deny: [40000]")
    )
    binder.pick_from(40000, 40000)
    binds = [
        Bind(0, "10.1.2.3", uid=1000),
        Bind(0, "10.1.2.3", uid=1001),
        Bind(0, "127.0.0.1", uid=1000),
        Bind(0, "::ffff:10.1.2.3", uid=1000),
        Bind(0, "0.0.0.0", uid=1000),
        Bind(0, "::", uid=1000, v6only=False),
        Bind(0, "::", uid=1000, v6only=True),
    ]
    said = [answer.said for answer in binder.answers(binds)]
    assert said == ["EACCES", "ok", "ok", "EACCES", "EACCES", "EACCES", "ok"]
    assert guard.violations == {("kept", "/", 40000, "tcp", "denied"): 4}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("seen_before", [True, False])
def test_clients_are_not_disturbed(
    address: str, seen_before: bool, guard: Guard, binder: Binder
) -> None:
    """Under a policy that only allows, or denies by default, clients bind port 0 and connect."""
    guard.publish(policy("name: web, allow: [8000]", head="default: deny"))
    if not seen_before:
        guard.forget_picked()
    assert binder.bind(8000, address, hold=True) == "ok"
    client = Bind(0, address, connect=8000)
    assert {answer.said for answer in binder.answers([client], N)} == {"ok"}
    assert guard.verdicts() == {"allowed": N + 1}
    assert guard.violations == {}


def test_a_failed_bind_to_port_0_leaves_no_mark(guard: Guard, binder: Binder) -> None:
    """A socket whose first bind failed in the kernel is judged afresh at its next, once."""
    guard.publish(policy("name: kept, deny: [40000]"))
    binder.sysctl("ipv4/ip_nonlocal_bind", "0")
    assert binder.bind(0, "192.0.2.1") == "EADDRNOTAVAIL"
    assert binder.bind(40001) == "ok"
    assert guard.verdicts().get("denied", 0) == 0
