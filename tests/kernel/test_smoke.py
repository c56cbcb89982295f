"""The whole of portwatch in short, for every kernel: what each gives, and that what it lacks is
named and nothing else is."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from binder import Bind, Binder
from collided import collided_under
from guard import Guard, errno_of

from portwatch.kernel import layout, loading
from portwatch.kernel.hooks import wanted_hooks
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import probe
from portwatch.kernel.readings import Readings
from portwatch.node.listeners import find_listeners
from portwatch.node.netns import host_network
from portwatch.node.paths import HostPaths

N = 23
LAZY_SECONDS = 5.0  # the kernel detaches an unpinned link from a work queue
DENIED = "mode: enforce\nconstraints:\n  - {name: no, deny: [9000], errno: EADDRNOTAVAIL}\n"
RECORDED = DENIED.replace("enforce", "record")
NO_PICKED = "mode: enforce\nconstraints:\n  - {name: no, deny: [40000], errno: EADDRNOTAVAIL}\n"
NO_EPHEMERAL = "mode: enforce\nconstraints:\n  - {name: no, deny: [ephemeral], errno: EPERM}\n"


@pytest.fixture
def gaps(loaded: tuple[PinDir, Path]) -> set[str]:
    """The names of what is not covered here."""
    readings = Readings(loaded[0])
    named = set(readings.uncovered())
    readings.close()
    return named


@pytest.fixture
def refused(gaps: set[str]) -> str:
    """What a bind is told where the policy says EADDRNOTAVAIL."""
    return "EPERM" if "errno" in gaps else "EADDRNOTAVAIL"


def test_what_the_probe_finds_is_what_attaches(loaded: tuple[PinDir, Path]) -> None:
    """Each program that this kernel should take is loaded and attached: `doctor` says of it what
    `status` says after a load."""
    readings = Readings(loaded[0])
    attached = {hook.name for hook in readings.hooks() if hook.attached}
    readings.close()
    assert attached == {hook.name for hook in wanted_hooks(probe().features)}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_denied_bind(
    address: str, protocol: str, guard: Guard, binder: Binder, refused: str
) -> None:
    """23 are refused, counted and told, with the policy's errno or, where that is a gap, EPERM;
    the port beside it is to be had."""
    guard.publish(DENIED)
    answers = binder.answers([Bind(9000, address, protocol), Bind(9001, address, protocol)], N)
    assert [answer.said for answer in answers] == [refused, "ok"] * N
    assert guard.verdicts() == {"denied": N, "allowed": N}
    assert guard.violations == {("no", "/", 9000, protocol, "denied"): N}
    event = guard.events()[0]
    assert (event.port, event.pid, errno_of(event)) == (9000, binder.pid, refused)
    assert event.netns_inode == binder.network.inode


def test_a_recorded_bind(guard: Guard, binder: Binder) -> None:
    """In record mode the same goes through, counted and told."""
    guard.publish(RECORDED)
    assert {answer.said for answer in binder.answers([Bind(9000)], N)} == {"ok"}
    assert guard.violations == {("no", "/", 9000, "tcp", "recorded"): N}


def test_a_picked_port(guard: Guard, binder: Binder, gaps: set[str], refused: str) -> None:
    """A port that the kernel picks and a list denies is refused, or recorded: a gap."""
    guard.publish(NO_PICKED)
    binder.pick_from(40000, 40000)
    said, verdict = ("ok", "recorded") if "picked_port" in gaps else (refused, "denied")
    assert {answer.said for answer in binder.answers([Bind(0)], N)} == {said}
    assert guard.verdicts() == {verdict: N}


def test_listen_without_bind(guard: Guard, binder: Binder, gaps: set[str]) -> None:
    """Refused, or recorded where that is a gap; seen once in any case."""
    guard.publish(NO_EPHEMERAL)
    stand = binder.take(("socket", "tcp", "ipv4"), ("listen",))
    named = "listen_without_bind" in gaps
    assert stand.said == ("ok" if named else "EPERM")
    assert guard.verdicts() == {"recorded" if named else "denied": 1}


def test_v6_only(guard: Guard, binder: Binder, gaps: set[str]) -> None:
    """`::` with IPV6_V6ONLY is not exposed on IPv4, unless that is a gap."""
    guard.publish(DENIED.replace("deny:", 'addresses: ["0.0.0.0"], deny:'))
    assert binder.bind(9000, "::", v6only=False) != "ok"
    assert (binder.bind(9000, "::", v6only=True) == "ok") == ("ipv6only" not in gaps)


def test_a_network_namespace(loaded: tuple[PinDir, Path], binder: Binder) -> None:
    """`network: host` means the machine's own network, and not another one."""
    guard = Guard(*loaded, host_network(HostPaths()))
    guard.publish(DENIED.replace("deny:", "network: host, deny:"))
    at_home = Binder(guard.cgroup, own_network=False)
    assert at_home.bind(9000) != "ok"
    assert binder.bind(9000) == "ok"
    at_home.close()
    guard.close()


def test_a_collision(guard: Guard, binder: Binder, gaps: set[str]) -> None:
    """23 binds to a taken port are 23 collisions, unless that is a gap."""
    with collided_under(guard) as collided:
        assert binder.bind(9000, hold=True) == "ok"
        assert {answer.said for answer in binder.answers([Bind(9000)], N)} == {"EADDRINUSE"}
        assert collided.counts == ({} if "collision" in gaps else {("/", 9000, "tcp"): N})
        assert {event.kind for event in collided.records()} == {layout.EVENT_COLLISION}


def test_sctp(guard: Guard, binder: Binder, gaps: set[str]) -> None:
    """Refused like TCP, or unseen where that is a gap."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        assert "sctp" in gaps
        return
    guard.publish(DENIED)
    stand = binder.take(("socket", "sctp", "ipv4"), ("bind", "127.0.0.1", 9000))
    assert (stand.said, guard.verdicts()) == (
        ("ok", {}) if "sctp" in gaps else ("EADDRNOTAVAIL", {"denied": 1})
    )


def test_what_listens_is_found(guard: Guard, binder: Binder) -> None:
    """A listener in another network namespace, with the process that it belongs to."""
    guard.publish(RECORDED)
    assert binder.take(
        ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", 9000), ("listen",)
    ).listening
    (found,) = [one for one in find_listeners().listeners if one.network == binder.network.inode]
    assert (found.protocol, found.port) == ("tcp", 9000)
    assert found.holder is not None
    assert found.holder.pid == binder.pid


def test_unloading_leaves_nothing(scratch_cgroup: Path, scratch_pin_dir: PinDir) -> None:
    """A load of its own refuses; unloaded, nothing is pinned and nothing is refused."""
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    binder = Binder(scratch_cgroup)
    guard = Guard(scratch_pin_dir, scratch_cgroup, binder.network)
    guard.publish(DENIED)
    assert binder.bind(9000) != "ok"
    guard.close()
    loading.remove(scratch_pin_dir)
    assert not scratch_pin_dir.path.exists()
    deadline = time.monotonic() + LAZY_SECONDS
    while binder.bind(9000) != "ok":
        assert time.monotonic() < deadline
    binder.close()
