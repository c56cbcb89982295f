"""EVENT_SHARED: a bind that lets another socket have the port too, told for userspace to look."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from binder import Binder, Step
from collided import Collided, collided_under
from guard import Guard
from scratch import fresh_name

from portwatch.kernel import layout

PORT = 9000
REUSEADDR = ("option", socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
REUSEPORT = ("option", socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@pytest.fixture
def cgroup(guard: Guard, binder: Binder) -> Path:
    """A cgroup that has never bound, with the binder in it."""
    directory = guard.make(f"/{fresh_name()}")
    binder.move(directory)
    return directory


@pytest.fixture
def collided(guard: Guard, cgroup: Path) -> Iterator[Collided]:
    """Records under a policy that knows the cgroup, and denies one port."""
    policy = "version: 1\nmode: enforce\nconstraints:\n  - {name: no, deny: [9666]}\n"
    with collided_under(guard, policy) as collided:
        yield collided
    assert cgroup.is_dir()


def bind(binder: Binder, protocol: str, address: str, port: int, *options: Step) -> str:
    """Bind a socket with these options, let it listen where it can, and close it; what the first
    step that failed said."""
    family = "ipv6" if ":" in address else "ipv4"
    steps = [("socket", protocol, family), *options, ("bind", address, port)]
    steps += [("listen",)] if protocol in ("tcp", "mptcp") else []
    said = binder.take(*steps).said
    binder.forget()
    return said


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::"])
@pytest.mark.parametrize(
    ("protocol", "option", "told"),
    [
        ("udp", REUSEPORT, 1),
        ("udp", REUSEADDR, 1),
        ("udplite", REUSEPORT, 1),
        ("tcp", REUSEPORT, 3),
        ("mptcp", REUSEPORT, 3),
    ],
)
def test_who_may_share_a_port_is_told(
    protocol: str,
    option: Step,
    told: int,
    address: str,
    collided: Collided,
    binder: Binder,
    cgroup: Path,
) -> None:
    """Of UDP the first such bind of a cgroup, address and port is a record, the next ones are
    none; of TCP each listen() is. It says whose it is."""
    said = [bind(binder, protocol, address, PORT, option) for _ in range(3)]
    assert said == ["ok"] * 3
    record, *more = collided.records(layout.EVENT_SHARED)
    assert len(more) == told - 1
    assert (record.port, record.requested_port) == (PORT, PORT)
    assert (record.cgroup, record.pid) == (cgroup.stat().st_ino, binder.pid)
    assert record.netns_inode == os.stat(f"/proc/{binder.pid}/ns/net").st_ino
    assert layout.FAMILY_NAMES[record.family] == ("ipv6" if ":" in address else "ipv4")
    assert bool(record.scope & layout.SCOPE_DUAL) == (address == "::")
    assert collided.counts == {}


def test_each_cgroup_address_and_port_is_told(
    collided: Collided, guard: Guard, binder: Binder
) -> None:
    """Another port, another address, another cgroup: a record each."""
    for address, port in (("127.0.0.1", PORT), ("127.0.0.1", PORT + 1), ("127.0.0.2", PORT)):
        assert bind(binder, "tcp", address, port, REUSEPORT) == "ok"
    binder.move(guard.make(f"/{fresh_name()}"))
    assert bind(binder, "tcp", "127.0.0.1", PORT, REUSEPORT) == "ok"
    records = collided.records(layout.EVENT_SHARED)
    assert [record.port for record in records] == [PORT, PORT + 1, PORT, PORT]
    assert len({record.cgroup for record in records}) == 2


def test_tcp_that_does_not_listen_is_not_told(collided: Collided, binder: Binder) -> None:
    """A client that names its port may share that with others, and serves nobody."""
    steps = ("socket", "tcp", "ipv4"), REUSEPORT, ("bind", "127.0.0.1", PORT)
    assert binder.take(*steps).said == "ok"
    assert collided.records(layout.EVENT_SHARED) == []
    assert binder.take(("listen",)).said == "ok"
    assert len(collided.records(layout.EVENT_SHARED)) == 1


@pytest.mark.parametrize(
    ("protocol", "options"),
    [("tcp", ()), ("udp", ()), ("tcp", (REUSEADDR,))],
    ids=["tcp", "udp", "tcp-reuseaddr"],
)
def test_a_plain_bind_is_not_told(
    protocol: str, options: tuple[Step, ...], collided: Collided, binder: Binder
) -> None:
    """What no other socket can share: also SO_REUSEADDR of TCP, where one only can listen."""
    assert bind(binder, protocol, "127.0.0.1", PORT, *options) == "ok"
    assert bind(binder, protocol, "::1", PORT, *options) == "ok"
    assert collided.records(layout.EVENT_SHARED) == []


def test_a_denied_bind_and_a_picked_port_are_not_told(
    collided: Collided, guard: Guard, binder: Binder
) -> None:
    """What did not get the port shares none, and nobody is likely to have a port that the kernel
    picks."""
    assert bind(binder, "udp", "127.0.0.1", 9666, REUSEPORT) in ("EACCES", "EPERM")
    assert bind(binder, "tcp", "127.0.0.1", 0, REUSEPORT) == "ok"
    assert guard.verdicts() == {"denied": 1, "allowed": 1}
    assert collided.records(layout.EVENT_SHARED) == []
