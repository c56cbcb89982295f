"""Binds that fail because the port is taken: each counted, one a second told."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from binder import Bind, Binder, StartBinder
from collided import Collided, collided_under
from guard import Guard

from portwatch.kernel import layout

N = 23
PORT = 9000
TCP = ("socket", "tcp", "ipv4")


@pytest.fixture
def collided(guard: Guard) -> Iterator[Collided]:
    """Counts under a policy without constraints."""
    with collided_under(guard) as collided:
        yield collided


def packed(address: str) -> bytes:
    """16 bytes in network order, IPv4 mapped: as records have it."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return socket.inet_pton(socket.AF_INET6, f"::ffff:{address}")


@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_each_failed_bind_is_counted_once(
    protocol: str, address: str, collided: Collided, binder: Binder
) -> None:
    """23 binds to a port that is taken are 23 under workload, port and protocol, and nothing
    else; the one that got the port is none."""
    taken = Bind(PORT, address, protocol)
    assert binder.answer(Bind(PORT, address, protocol, hold=True)).said == "ok"
    assert collided.counts == {}
    assert {answer.said for answer in binder.answers([taken], N)} == {"EADDRINUSE"}
    assert collided.counts == {("/", PORT, protocol): N}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_mptcp_is_counted_by_what_the_hook_sees(
    address: str, collided: Collided, binder: Binder
) -> None:
    """The system call has the Multipath socket, the kernel's function its first subflow, a TCP
    socket: counted as mptcp by the one, as tcp by the other."""
    assert binder.answer(Bind(PORT, address, "mptcp", hold=True)).said == "ok"
    said = binder.answers([Bind(PORT, address, "mptcp")], N)
    assert {answer.said for answer in said} == {"EADDRINUSE"}
    label = "tcp" if collided.seen_by_functions else "mptcp"
    assert collided.counts == {("/", PORT, label): N}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "::"),
        ("::", "0.0.0.0"),
        ("::1", "::"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_wildcards_and_dual_stack_are_counted(
    held: str, wanted: str, protocol: str, collided: Collided, binder: Binder
) -> None:
    """A collision with another address is one: the record has the address that was wanted, and
    whether it was IPv4's too."""
    assert binder.answer(Bind(PORT, held, protocol, hold=True)).said == "ok"
    assert binder.bind(PORT, wanted, protocol=protocol) == "EADDRINUSE"
    assert collided.counts == {("/", PORT, protocol): 1}
    (record,) = collided.records()
    assert bytes(record.address) == packed(wanted)
    assert bool(record.scope & layout.SCOPE_DUAL) == (wanted == "::")


def test_v6_only_beside_ipv4_is_no_collision(collided: Collided, binder: Binder) -> None:
    """`::` that is IPv6's alone and an IPv4 address do not want the same; against `::1` it does,
    and the record does not say dual."""
    assert binder.answer(Bind(PORT, "127.0.0.1", hold=True)).said == "ok"
    assert binder.bind(PORT, "::", v6only=True) == "ok"
    assert collided.counts == {}
    assert binder.answer(Bind(PORT, "::1", hold=True)).said == "ok"
    assert binder.bind(PORT, "::", v6only=True) == "EADDRINUSE"
    assert collided.counts == {("/", PORT, "tcp"): 1}
    assert [record.scope for record in collided.records()] == [0]


def test_reuseaddr_collides_with_a_listener_only(collided: Collided, binder: Binder) -> None:
    """SO_REUSEADDR on both lets two TCP sockets bind one port, until one of them listens."""
    option = ("option", socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    steps = TCP, option, ("bind", "127.0.0.1", PORT)
    assert binder.take(*steps, name="one").said == "ok"
    assert binder.take(*steps, name="two").said == "ok"
    binder.forget("one")
    assert collided.counts == {}
    assert binder.take(("listen",), name="one").said == "ok"
    assert {binder.take(*steps, name="two").said for _ in range(N)} == {"EADDRINUSE"}
    assert collided.counts == {("/", PORT, "tcp"): N}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_the_record_says_who_wanted_what(
    address: str, guard: Guard, start_binder: StartBinder
) -> None:
    """Address, port, network, process, cgroup and account of whoever failed, not the holder's;
    and under which policy."""
    cgroup = guard.make("/crashing")
    with collided_under(guard) as collided:
        holder, binder = start_binder(), start_binder(cgroup, own_network=False)
        binder.ask(do="join_network", pid=holder.pid)
        assert holder.answer(Bind(PORT, address, hold=True)).said == "ok"
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert binder.bind(PORT, address, uid=1234, gid=4321) == "EADDRINUSE"
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert collided.counts == {("/crashing", PORT, "tcp"): 1}
        (record,) = collided.records()
    assert before <= record.time_ns <= after
    assert bytes(record.address) == packed(address)
    assert (record.port, record.requested_port, record.protocol) == (PORT, PORT, 6)
    assert layout.FAMILY_NAMES[record.family] == ("ipv6" if ":" in address else "ipv4")
    assert record.netns_inode == os.stat(f"/proc/{holder.pid}/ns/net").st_ino
    assert (record.pid, record.tid) == (binder.pid, binder.pid)
    assert record.comm.decode() == Path(f"/proc/{binder.pid}/comm").read_text().strip()
    assert (record.uid, record.gid) == (1234, 4321)
    assert record.cgroup == cgroup.stat().st_ino
    assert guard.publisher.live
    assert record.generation == guard.publisher.live.generation
    assert record.flags == 0  # not the network that the guard takes for the host's


def test_one_record_a_second_for_a_workload_and_port(collided: Collided, binder: Binder) -> None:
    """A crash loop is counted bind by bind and told once a second; another port at once."""
    held = [Bind(PORT, hold=True), Bind(PORT + 1, hold=True)]
    assert [answer.said for answer in binder.answers(held)] == ["ok", "ok"]
    start = time.monotonic()
    binder.start_storm([Bind(PORT)], pause_seconds=0.05)
    time.sleep(1.3)
    ((_, said), made) = next(iter(binder.end_storm().items()))
    assert binder.bind(PORT + 1) == "EADDRINUSE"
    seconds = time.monotonic() - start
    assert said == "EADDRINUSE"
    assert collided.counts == {("/", PORT, "tcp"): made, ("/", PORT + 1, "tcp"): 1}
    records = collided.records()
    times = [record.time_ns for record in records if record.port == PORT]
    assert 2 <= len(times) <= seconds + 1
    assert all(later - earlier >= 1e9 for earlier, later in pairwise(times))
    assert [record.port for record in records].count(PORT + 1) == 1


def test_a_full_map_counts_the_rest_together(
    collided: Collided, guard: Guard, binder: Binder
) -> None:
    """Where there is no room a collision is counted under one entry of its protocol; those that
    have an entry go on under their own."""
    held = [
        Bind(port, protocol=p, hold=True) for port in range(PORT, PORT + 3) for p in ("tcp", "udp")
    ]
    assert {answer.said for answer in binder.answers(held)} == {"ok"}
    assert binder.bind(PORT) == "EADDRINUSE"
    collisions = guard.pin_dir.open_map("collisions")
    free = collisions.max_entries - len(list(collisions.items()))
    keys = [bytes(layout.CollisionKey(workload=0xFF0000 + n, port=1)) for n in range(free)]
    collisions.put_all((key, bytes(layout.Collision())) for key in keys)
    said = binder.answers([Bind(PORT), Bind(PORT + 1), Bind(PORT + 2)], N)
    said += binder.answers([Bind(PORT + 1, protocol="udp")], 2)
    counts = collided.counts
    collisions.delete_all(keys)
    collisions.close()
    assert {answer.said for answer in said} == {"EADDRINUSE"}
    assert counts == {
        ("/", PORT, "tcp"): N + 1,
        ("other", 0, "tcp"): 2 * N,
        ("other", 0, "udp"): 2,
    }
    records = collided.records()
    assert {record.port for record in records} >= {PORT, PORT + 1}
    assert guard.publisher.names.text(records[-1].workload) == "/"
