"""What is no collision: denials, other errors, other sockets, and who is none of ours."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from binder import Bind, Binder, StartBinder
from collided import Collided, collided_under
from guard import Guard
from refusals import heard

N = 23
PORT = 9000
TCP = ("socket", "tcp", "ipv4")
TAKEN_BY_POLICY = (
    "version: 1\nmode: enforce\nconstraints:\n"
    f"  - {{name: no, deny: [{PORT}], errno: EADDRINUSE}}\n"
)


@pytest.fixture
def collided(guard: Guard) -> Iterator[Collided]:
    """Counts under a policy without constraints."""
    with collided_under(guard) as collided:
        yield collided


@pytest.mark.parametrize("protocol", ["tcp", "mptcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_denial_with_the_same_errno_is_none(
    address: str, protocol: str, guard: Guard, binder: Binder
) -> None:
    """A bind that portwatch refuses with EADDRINUSE is a violation and no collision; the next one
    that the kernel refuses is one, and the next."""
    with collided_under(guard, TAKEN_BY_POLICY) as collided:
        assert binder.answer(Bind(PORT + 1, address, protocol, hold=True)).said == "ok"
        denied, taken = Bind(PORT, address, protocol), Bind(PORT + 1, address, protocol)
        said = [answer.said for answer in binder.answers([denied, denied, taken, taken], N)]
        assert set(said[2::4] + said[3::4]) == {"EADDRINUSE"}
        assert set(said[::4] + said[1::4]) == {heard("EADDRINUSE")}
        assert guard.verdicts() == {"denied": 2 * N, "allowed": 2 * N + 1}
        label = "tcp" if protocol == "mptcp" and collided.seen_by_functions else protocol
        assert collided.counts == {("/", PORT + 1, label): 2 * N}


def test_a_picked_port_that_is_denied_is_none(guard: Guard, binder: Binder) -> None:
    """Nor is a port that the kernel picked and portwatch refused, with that errno, afterwards."""
    policy = TAKEN_BY_POLICY.replace(str(PORT), "40000")
    with collided_under(guard, policy) as collided:
        binder.pick_from(40000, 40000)
        said = {answer.said for answer in binder.answers([Bind(0), Bind(0, "::1")], N)}
        if guard.verdicts() == {"denied": 2 * N}:
            assert said == {"EADDRINUSE"}
        else:  # before 5.17 it is recorded
            assert (said, guard.verdicts()) == ({"ok"}, {"recorded": 2 * N})
        assert collided.counts == {}


def test_other_errors_are_none(collided: Collided, binder: Binder) -> None:
    """An address that is not here, a privileged port, a socket that is bound already, a bad
    address: the kernel's, and no collisions."""
    binder.sysctl("ipv4/ip_nonlocal_bind", "0")
    binder.sysctl("ipv4/ip_unprivileged_port_start", "1024")
    assert binder.bind(PORT, "192.0.2.1") == "EADDRNOTAVAIL"
    twice = TCP, ("bind", "127.0.0.1", PORT), ("bind", "127.0.0.1", PORT + 1)
    assert binder.take(*twice).said == "EINVAL"
    assert binder.take(TCP, ("bind raw", "0200")).said == "EINVAL"
    assert len(binder.ask(do="misuse")) == 4
    binder.drop_privileges()
    assert binder.bind(80) == "EACCES"
    assert collided.counts == {}
    assert collided.records() == []


def test_no_port_to_pick_is_none(collided: Collided, binder: Binder) -> None:
    """Where every port that the kernel may pick is taken, nobody wanted one by number."""
    binder.pick_from(40000, 40000)
    assert binder.answer(Bind(40000, hold=True)).said == "ok"
    assert binder.bind(0) == "EADDRINUSE"
    assert collided.counts == {}


def test_a_path_that_is_taken_is_none(collided: Collided, binder: Binder, tmp_path: Path) -> None:
    """EADDRINUSE of a UNIX socket, as daemons get it from a stale path, has no port."""
    for name in ("one", "two"):
        stand = binder.take(("channel", str(tmp_path / "path")), name=name)
    assert stand.said == "EADDRINUSE"
    assert collided.counts == {}


def test_a_ping_identifier_that_is_taken_is_none(collided: Collided, binder: Binder) -> None:
    """Nor has EADDRINUSE of a ping socket, whose number is no port."""
    binder.sysctl("ipv4/ping_group_range", "0 0")
    alone = ("option", socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    steps = ("socket", "icmp", "ipv4"), alone, ("bind", "127.0.0.1", PORT)
    assert binder.take(*steps, name="one").said == "ok"
    assert binder.take(*steps, name="two").said == "EADDRINUSE"
    assert collided.counts == {}


def test_outside_the_cgroup_is_none(
    collided: Collided, scratch_cgroup: Path, start_binder: StartBinder
) -> None:
    """What is bound beside the cgroup that the programs are on is not counted."""
    with contextlib.closing(start_binder(scratch_cgroup)) as outside:
        assert outside.answer(Bind(PORT, hold=True)).said == "ok"
        assert {answer.said for answer in outside.answers([Bind(PORT)], N)} == {"EADDRINUSE"}
    assert collided.counts == {}
    assert collided.records() == []


def test_a_ring_is_seen_where_functions_take_programs(
    collided: Collided, binder: Binder, native_calls: Path
) -> None:
    """A bind by io_uring ends no system call bind(): the kernel's function sees it fail, the
    tracepoint does not."""
    binder.ask(do="native", path=str(native_calls))
    assert binder.answer(Bind(PORT, hold=True)).said == "ok"
    said = binder.take(TCP, ("bind", "127.0.0.1", PORT, "io_uring")).said
    if said == "EINVAL":  # before 6.11 rings do not bind
        return
    assert said == "EADDRINUSE"
    assert collided.counts == ({("/", PORT, "tcp"): 1} if collided.seen_by_functions else {})


def test_a_ring_that_was_denied_hides_no_collision(
    guard: Guard, binder: Binder, native_calls: Path
) -> None:
    """After portwatch has refused a bind by io_uring, the same thread's next collision counts."""
    binder.ask(do="native", path=str(native_calls))
    with collided_under(guard, TAKEN_BY_POLICY) as collided:
        assert binder.answer(Bind(PORT + 1, hold=True)).said == "ok"
        said = binder.take(TCP, ("bind", "127.0.0.1", PORT, "io_uring")).said
        assert said in (heard("EADDRINUSE"), "EINVAL")  # before 6.11 rings do not bind
        assert binder.bind(PORT + 1) == "EADDRINUSE"
        assert collided.counts == {("/", PORT + 1, "tcp"): 1}
