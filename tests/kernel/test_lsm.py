"""What only LSM programs can refuse: listen() without bind(), and SCTP.

Run in a guest: this machine's kernel takes no such program.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from binder import Binder, StartBinder, Step
from guard import Guard

from portwatch.kernel.readings import Readings

pytestmark = pytest.mark.guest

IP_BIND_ADDRESS_NO_PORT = 24
SOL_SCTP = 132
SCTP_SOCKOPT_BINDX_ADD = 100
NO_EPHEMERAL = "mode: enforce\nconstraints:\n  - {name: no, deny: [ephemeral/tcp], errno: EPERM}\n"
NO_SCTP = "mode: enforce\nconstraints:\n  - {name: no, deny: [9000/sctp], errno: EADDRNOTAVAIL}\n"
ANYTHING = "mode: enforce\nconstraints: []\n"
LATE: tuple[Step, ...] = (("option", socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1),)


def sockaddr(address: str, port: int) -> str:
    """One for bindx(), in hex."""
    if ":" in address:
        raw = struct.pack("=HH", socket.AF_INET6, socket.htons(port)) + bytes(4)
        return (raw + socket.inet_pton(socket.AF_INET6, address) + bytes(4)).hex()
    raw = struct.pack("=HH", socket.AF_INET, socket.htons(port))
    return (raw + socket.inet_pton(socket.AF_INET, address) + bytes(8)).hex()


def test_nothing_of_it_is_a_gap(guard: Guard) -> None:
    """With LSM programs attached, neither SCTP nor listen() without bind() is uncovered."""
    readings = Readings(guard.pin_dir)
    attached = {hook.name for hook in readings.hooks() if hook.attached}
    gaps = readings.uncovered()
    readings.close()
    assert {"socket_bind", "sctp_bind_connect", "socket_listen"} <= attached
    assert not {"sctp", "listen_without_bind", "bind_address_no_port"} & gaps.keys()


@pytest.mark.parametrize("protocol", ["tcp", "mptcp"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_an_unbound_listen_is_refused(
    guard: Guard, binder: Binder, protocol: str, family: str
) -> None:
    """Where port 0 is denied, listen() without bind() fails with the policy's errno, once."""
    guard.publish(NO_EPHEMERAL)
    stand = binder.take(("socket", protocol, family), ("listen",))
    assert (stand.said, stand.failed, stand.listening) == ("EPERM", "listen", False)
    assert guard.binds == {("denied", protocol, family): 1}
    assert guard.violations == {("no", "/", 0, protocol, "denied"): 1}
    (event,) = guard.events()
    assert (event.port, event.requested_port, event.error) == (0, 0, 1)
    assert event.pid == binder.pid


def test_an_unbound_listen_that_may_be_is_counted_once(guard: Guard, binder: Binder) -> None:
    """Two programs see it, and one counts it."""
    guard.publish(ANYTHING)
    stand = binder.take(("socket", "tcp", "ipv4"), ("listen",))
    assert (stand.said, stand.listening) == ("ok", True)
    assert guard.binds == {("allowed", "tcp", "ipv4"): 1}


def test_a_listen_on_a_port_that_was_asked_for_is_nobodys_business(
    guard: Guard, binder: Binder
) -> None:
    """It was judged when it was bound."""
    guard.publish(NO_EPHEMERAL)
    steps: tuple[Step, ...] = (("bind", "127.0.0.1", 9000), ("listen",))
    assert binder.take(("socket", "tcp", "ipv4"), *steps).said == "ok"
    assert guard.binds == {("allowed", "tcp", "ipv4"): 1}
    assert guard.events() == []


def test_a_late_port_is_refused_and_counted_once(guard: Guard, binder: Binder) -> None:
    """IP_BIND_ADDRESS_NO_PORT: bound under one policy, refused under the next when it listens."""
    guard.publish(ANYTHING)
    binder.take(("socket", "tcp", "ipv4"), *LATE, ("bind", "127.0.0.1", 0))
    assert guard.binds == {("allowed", "tcp", "ipv4"): 1}
    base = guard.verdicts()
    guard.publish(NO_EPHEMERAL)
    stand = binder.take(("listen",))
    assert (stand.said, stand.port) == ("EPERM", 0)
    moved = {verdict: count for verdict, count in guard.totals.binds.items() if count}
    assert base == {"allowed": 1}
    assert moved == {("allowed", "tcp", "ipv4"): -1, ("denied", "tcp", "ipv4"): 1}


@pytest.mark.parametrize(
    ("family", "address"),
    [("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("ipv6", "::"), ("ipv4", "0.0.0.0")],
)
@pytest.mark.parametrize("protocol", ["sctp", "sctp-many"])
def test_sctp_is_refused(
    guard: Guard, binder: Binder, protocol: str, family: str, address: str
) -> None:
    """An SCTP bind, one-to-one or one-to-many, gets verdict and errno, and is counted once."""
    guard.publish(NO_SCTP)
    stand = binder.take(("socket", protocol, family), ("bind", address, 9000))
    assert (stand.said, stand.port) == ("EADDRNOTAVAIL", 0)
    other = binder.take(("socket", protocol, family), ("bind", address, 9001), name="other")
    assert (other.said, other.port) == ("ok", 9001)
    assert guard.binds == {("denied", "sctp", family): 1, ("allowed", "sctp", family): 1}
    assert guard.violations == {("no", "/", 9000, "sctp", "denied"): 1}
    (event,) = guard.events()
    assert (event.protocol, event.port, event.error) == (132, 9000, 99)
    assert (event.pid, event.netns_inode) == (binder.pid, binder.network.inode)
    assert bool(event.scope) == (address == "::")


def test_bindx_is_no_way_around(guard: Guard, binder: Binder) -> None:
    """sctp_bindx() never meets socket_bind: its addresses are judged one by one all the same."""
    guard.publish(NO_SCTP)
    both = sockaddr("127.0.0.1", 9000) + sockaddr("127.0.0.2", 9000)
    bindx: Step = ("option raw", SOL_SCTP, SCTP_SOCKOPT_BINDX_ADD, both)
    stand = binder.take(("socket", "sctp", "ipv4"), bindx)
    assert (stand.said, stand.port) == ("EADDRNOTAVAIL", 0)
    assert guard.binds == {("denied", "sctp", "ipv4"): 1}
    further = ("option raw", SOL_SCTP, SCTP_SOCKOPT_BINDX_ADD, sockaddr("127.0.0.2", 0))
    steps: tuple[Step, ...] = (("bind", "127.0.0.1", 9001), further)
    assert binder.take(("socket", "sctp", "ipv4"), *steps, name="other").said == "ok"
    assert guard.binds[("allowed", "sctp", "ipv4")] == 2


def test_an_unbound_sctp_listen_is_refused(guard: Guard, binder: Binder) -> None:
    """As for TCP; and where it may be, it is counted once."""
    guard.publish(NO_EPHEMERAL.replace("/tcp", ""))
    stand = binder.take(("socket", "sctp", "ipv4"), ("listen",))
    assert (stand.said, stand.listening) == ("EPERM", False)
    guard.publish(ANYTHING)
    assert binder.take(("listen",)).listening
    assert guard.binds == {("allowed", "sctp", "ipv4"): 1}


def test_sctp_keeps_the_kernels_own_answers(guard: Guard, binder: Binder) -> None:
    """A short address and a foreign family are the kernel's to refuse, and count as nothing."""
    guard.publish(NO_SCTP)
    short = binder.take(("socket", "sctp", "ipv4"), ("bind raw", "02002328"))
    assert short.said == "EINVAL"
    assert guard.events() == []
    assert guard.verdicts().get("denied", 0) == 0


def test_what_is_not_below_the_cgroup_is_not_touched(
    scratch_cgroup: Path, guard: Guard, start_binder: StartBinder
) -> None:
    """LSM programs are called for the whole machine, and judge the attached cgroup only."""
    guard.publish(NO_EPHEMERAL.replace("/tcp", "") + "  - {name: s, deny: [9000/sctp]}\n")
    outside = start_binder(scratch_cgroup)
    assert outside.take(("socket", "tcp", "ipv4"), ("listen",)).listening
    bound = outside.take(("socket", "sctp", "ipv4"), ("bind", "127.0.0.1", 9000), name="s")
    assert (bound.said, bound.port) == ("ok", 9000)
    assert guard.binds == {}
    assert guard.events() == []
