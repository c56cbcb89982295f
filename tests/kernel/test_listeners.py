"""What listens, in every network namespace, against sockets that are really there."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from binder import Bind, Binder
from scratch import fresh_name, temporary_cgroup

from portwatch.node.listeners import Listener, Listing, find_listeners
from portwatch.node.namespaces import Namespace, entered, find_namespaces
from portwatch.node.paths import HostPaths

MANY_SOCKETS = 10_000
SOL_IPV6, IPV6_V6ONLY = 41, 26


@pytest.fixture
def binder() -> Iterator[Binder]:
    """A process in a network namespace of its own."""
    with contextlib.closing(Binder(None)) as binder:
        yield binder


def network_of(pid: int | str) -> int:
    """The inode of a process's network namespace."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def listed(network: int) -> dict[tuple[str, str, int], Listener]:
    """What listens in one namespace, by protocol, address and port; each only once."""
    listing = find_listeners()
    assert listing.not_seen == []
    mine = [one for one in listing.listeners if one.network == network]
    found = {(one.protocol, one.address, one.port): one for one in mine}
    assert len(found) == len(mine)
    return found


def listen(binder: Binder, port: int, address: str = "127.0.0.1", *options: int) -> None:
    """Let it listen, on a socket with an integer option of the IPv6 level, if one is given."""
    family = "ipv6" if ":" in address else "ipv4"
    steps = [("socket", "tcp", family), ("bind", address, port), ("listen",)]
    if options:
        steps.insert(1, ("option", SOL_IPV6, IPV6_V6ONLY, *options))
    assert binder.take(*steps, name=f"{address}-{port}").said == "ok"


def test_a_listener_in_another_namespace_is_described_in_full(binder: Binder) -> None:
    """Protocol, address, port, namespace, cgroup, process and its start are told, as they are."""
    with temporary_cgroup() as cgroup:
        binder.move(cgroup)
        listen(binder, 9000)
        network = network_of(binder.pid)
        ((key, found),) = listed(network).items()
        binder.close()
    assert key == ("tcp", "127.0.0.1", 9000)
    assert (found.state, found.family, found.uid) == ("listen", "ipv4", 0)
    assert found.network == network
    assert not found.is_host_network
    assert found.made_in == f"/{cgroup.name}"
    holder = found.holder
    assert holder is not None
    assert (holder.pid, holder.uid, holder.gid) == (binder.pid, 0, 0)
    assert holder.cgroup == f"/{cgroup.name}"
    assert holder.comm.startswith("python")
    assert holder.cmdline is not None
    assert "binder_process.py" in holder.cmdline
    age = time.time() - datetime.fromisoformat(holder.since).replace(tzinfo=UTC).timestamp()
    assert 0 <= age < 60


def test_the_hosts_namespace_is_looked_at() -> None:
    """A socket of this very process is among the host's."""
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        found = listed(network_of("self"))["tcp", "127.0.0.1", mine.getsockname()[1]]
    assert found.is_host_network
    assert found.holder is not None
    assert found.holder.pid == os.getpid()


def test_a_listing_leaves_this_thread_where_it_was(binder: Binder) -> None:
    """Looking into other namespaces moves nobody."""
    before = network_of("thread-self")
    find_listeners()
    assert network_of("thread-self") == before


@pytest.fixture
def named_namespace() -> Iterator[Path]:
    """`ip netns add`; nobody is in it."""
    name = fresh_name()
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_named_namespace_without_a_process_is_looked_at(named_namespace: Path) -> None:
    """A socket whose maker has left that namespace is found, and so is its process."""
    network = named_namespace.stat().st_ino
    with entered(Namespace(network, (named_namespace,)), HostPaths()):
        mine = socket.socket()
    with mine:
        mine.bind(("127.0.0.1", 9001))
        mine.listen()
        assert network_of("thread-self") != network
        found = listed(network)["tcp", "127.0.0.1", 9001]
    assert found.holder is not None
    assert found.holder.pid == os.getpid()


def test_dual_stack_and_v6_only_are_told_apart(binder: Binder) -> None:
    """`::` without IPV6_V6ONLY is exposed on IPv4 too, and says so; a mapped address is IPv4's."""
    listen(binder, 9000, "::", 0)
    listen(binder, 9001, "::", 1)
    listen(binder, 9002, "::1", 0)
    listen(binder, 9003, "::ffff:127.0.0.1", 0)
    found = listed(network_of(binder.pid))
    assert found["tcp", "::", 9000].dual
    assert not found["tcp", "::", 9001].dual
    assert not found["tcp", "::1", 9002].dual
    assert found["tcp", "127.0.0.1", 9003].family == "ipv6"


def test_udp_is_listed_bound_and_not_connected(binder: Binder) -> None:
    """A bound UDP socket receives from everybody; one with a peer is a connection."""
    bind = ("bind", "127.0.0.1", 9000)
    assert binder.take(("socket", "udp", "ipv4"), bind, name="bound").said == "ok"
    bind = ("bind", "127.0.0.1", 9001)
    connect = ("connect", "127.0.0.1", 9000)
    assert binder.take(("socket", "udp", "ipv4"), bind, connect, name="peer").said == "ok"
    found = listed(network_of(binder.pid))
    assert list(found) == [("udp", "127.0.0.1", 9000)]
    assert found["udp", "127.0.0.1", 9000].state == "bound"


def test_tcp_and_mptcp_are_listed_only_while_they_listen(binder: Binder) -> None:
    """A bound socket and a connection are no listeners; an MPTCP one is, as tcp."""
    bind = ("bind", "127.0.0.1", 9000)
    assert binder.take(("socket", "tcp", "ipv4"), bind, name="bound").said == "ok"
    steps = ("socket", "mptcp", "ipv4"), ("bind", "127.0.0.1", 9001), ("listen",)
    assert binder.take(*steps, name="mptcp").said == "ok"
    connect = ("socket", "tcp", "ipv4"), ("connect", "127.0.0.1", 9001)
    assert binder.take(*connect, name="client").said == "ok"
    found = listed(network_of(binder.pid))
    assert list(found) == [("tcp", "127.0.0.1", 9001)]
    assert found["tcp", "127.0.0.1", 9001].holder is not None


def test_the_range_is_that_of_the_namespace(binder: Binder) -> None:
    """Whether the kernel picks such ports is asked where the socket is."""
    binder.pick_from(9000, 9001)
    listen(binder, 9001)
    listen(binder, 40000)
    found = listed(network_of(binder.pid))
    assert found["tcp", "127.0.0.1", 9001].in_local_range
    assert not found["tcp", "127.0.0.1", 40000].in_local_range


def test_of_a_shared_socket_the_oldest_process_is_named(binder: Binder) -> None:
    """Pre-forked servers hold one socket: the first process, and how many more."""
    listen(binder, 9000)
    for _ in range(3):
        binder.spawn("fork")
    found = listed(network_of(binder.pid))["tcp", "127.0.0.1", 9000]
    assert found.holder is not None
    assert (found.holder.pid, found.more) == (binder.pid, 3)


def test_a_passed_socket_is_its_new_holders(binder: Binder, tmp_path: Path) -> None:
    """Whoever has it open now is named, in any namespace; its maker is the cgroup that it tells."""
    channel = str(tmp_path / "channel")
    with temporary_cgroup() as cgroup, contextlib.closing(Binder(None)) as other:
        other.take(("channel", channel), name="none")
        binder.move(cgroup)
        listen(binder, 9000)
        binder.take(("pass", channel), name="127.0.0.1-9000")
        other.take(("receive", channel), name="taken")
        binder.forget()
        found = listed(network_of(binder.pid))["tcp", "127.0.0.1", 9000]
        binder.close()
    assert found.holder is not None
    assert found.holder.pid == other.pid
    assert found.made_in == f"/{cgroup.name}"


def test_no_process_is_named_for_a_socket_that_none_has_open(
    binder: Binder, tmp_path: Path
) -> None:
    """A socket that is only in flight, in another socket's buffer, has its maker's cgroup alone."""
    channel = str(tmp_path / "channel")
    with contextlib.closing(Binder(None)) as other:
        other.take(("channel", channel), name="none")
        listen(binder, 9000)
        binder.take(("pass", channel), name="127.0.0.1-9000")
        binder.forget()
        found = listed(network_of(binder.pid))["tcp", "127.0.0.1", 9000]
    assert found.holder is None
    assert found.made_in == "/"


def test_a_namespace_that_may_not_be_entered_is_named(binder: Binder, tmp_path: Path) -> None:
    """What could not be looked at is said, never silently missing."""
    fake = tmp_path / "4242" / "ns"
    fake.mkdir(parents=True)
    (fake / "net").write_text("no namespace")
    real = HostPaths()
    (tmp_path / "self").symlink_to("/proc/self")
    (tmp_path / "thread-self").symlink_to("/proc/thread-self")
    listing = find_listeners(HostPaths(tmp_path))
    inode = (fake / "net").stat().st_ino
    assert listing.not_seen == [f"net:[{inode}]: cannot enter net:[{inode}]: Invalid argument"]
    assert network_of("self") in {one.inode for one in find_namespaces(real)}


def test_ten_thousand_sockets_are_exactly_ten_thousand() -> None:
    """None is missed and none is told twice, tcp and udp, IPv4 and IPv6."""
    kinds = [("tcp", "127.0.0.1"), ("udp", "127.0.0.1"), ("tcp", "::1"), ("udp", "::1")]
    binders = [Binder(None, own_network=False) for _ in range(16)]
    try:
        binders[0].ask(do="unshare", what=["net"])
        for other in binders:
            other.ask(do="join_network", pid=binders[0].pid)
        binders[0].ask(do="run", command=["ip", "link", "set", "lo", "up"])
        network = network_of(binders[0].pid)
        asked = [(*kinds[n % 4], 1024 + n // 4) for n in range(MANY_SOCKETS)]
        for number, other in enumerate(binders):
            mine = asked[number :: len(binders)]
            said = other.answers(
                Bind(port, address, kind, hold=True) for kind, address, port in mine
            )
            assert {answer.said for answer in said} == {"ok"}
        assert sorted(listed(network)) == sorted(asked)
        held = listed(network).values()
        assert {one.holder.pid for one in held if one.holder} == {one.pid for one in binders}
        assert all(one.holder for one in held)
    finally:
        for other in binders:
            other.close()


def test_a_listing_while_processes_come_and_go(binder: Binder) -> None:
    """Whatever ends meanwhile, what stays is found each time, and nobody is named wrongly."""
    listen(binder, 9000)
    storming = ["nice", "sh", "-c", "while :; do /bin/true; done"]  # there may be one CPU for both
    with subprocess.Popen(storming) as storm:
        listings: list[Listing] = [find_listeners() for _ in range(10)]
        storm.kill()
    for listing in listings:
        mine = [one for one in listing.listeners if one.network == network_of(binder.pid)]
        assert [one.holder.pid for one in mine if one.holder] == [binder.pid]
