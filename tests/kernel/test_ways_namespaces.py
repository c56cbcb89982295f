"""What a workload can make of its own, cgroups and namespaces, does not change what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from binder import Binder, StartBinder
from guard import Guard
from two_places import BIND, BOUND, LISTEN, PORT, TCP, make_places

from portwatch.kernel.probe import kernel_version

IO_URING_BINDS_SINCE = (6, 11)


@pytest.fixture
def places(guard: Guard, binder: Binder) -> tuple[Path, Path]:
    """A cgroup that may not bind the port, and one that may, where the binder is."""
    return make_places(guard, binder)


@pytest.mark.parametrize("depth", [1, 40])
def test_nested_cgroups_of_its_own(
    depth: int, guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """A workload that makes cgroups below its own and moves there stays what it is, known to
    userspace or not, however deep."""
    bound, _ = places
    inner = bound.joinpath(*["inner"] * depth)
    inner.mkdir(parents=True)
    binder.move(inner)
    stand = binder.take(TCP, BIND)
    assert (stand.said, stand.port) == ("EPERM", 0)
    assert guard.violations == {BOUND: 1}


def test_a_thread_in_a_cgroup_of_its_own(
    guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """A workload that puts its threads into threaded cgroups stays what it is."""
    bound, _ = places
    binder.move(bound)
    inner = bound / "threads"
    inner.mkdir()
    (inner / "cgroup.type").write_text("threaded")
    (inner / "cgroup.threads").write_text(str(binder.pid))
    assert binder.take(TCP, BIND).said == "EPERM"
    assert guard.violations == {BOUND: 1}
    assert guard.events()[0].cgroup == inner.stat().st_ino
    (bound / "cgroup.threads").write_text(str(binder.pid))


def test_a_user_namespace(guard: Guard, binder: Binder, places: tuple[Path, Path]) -> None:
    """Root in a user namespace of one's own is the user outside that it is."""
    binder.drop_privileges(1000, 50)
    assert binder.ask(do="unshare", what=["user"]) == 0
    assert [binder.bind(port) for port in (9001, 9003)] == ["EPERM", "ok"]
    assert guard.violations == {("as-alice", "/free", 9001, "tcp", "denied"): 1}
    assert guard.events()[0].uid == 1000


def test_credentials_kept_in_a_ring(
    guard: Guard, binder: Binder, native_calls: Path, places: tuple[Path, Path]
) -> None:
    """A user who has left other credentials with an io_uring binds with these, and is judged by
    them: as after seteuid(), they are what the kernel goes by."""
    binder.ask(do="native", path=str(native_calls))
    alice = 1000
    stand = binder.take(TCP, ("bind as before", "127.0.0.1", 9001, alice))
    if stand.said == "EINVAL":
        assert kernel_version() < IO_URING_BINDS_SINCE
        return
    assert (stand.said, stand.port) == ("ok", 9001)
    assert binder.bind(9001) == "EPERM"
    assert guard.verdicts() == {"allowed": 1, "denied": 1}
    assert [event.uid for event in guard.events()] == [alice]


def test_a_cgroup_namespace(guard: Guard, binder: Binder, places: tuple[Path, Path]) -> None:
    """A workload that takes its cgroup for the root is still judged by the real one."""
    bound, _ = places
    binder.move(bound)
    assert binder.ask(do="unshare", what=["cgroup"]) == 0
    assert binder.take(TCP, BIND).said == "EPERM"
    assert guard.violations == {BOUND: 1}


@pytest.mark.needs("NETNS_COOKIE")
def test_a_network_namespace(guard: Guard, binder: Binder, places: tuple[Path, Path]) -> None:
    """A network of one's own leaves `network: host`, and no other constraint."""
    bound, _ = places
    binder.move(bound)
    assert binder.bind(9002) == "EPERM"
    assert binder.ask(do="unshare", what=["user", "net"]) == 0
    assert [binder.bind(port, "0.0.0.0") for port in (9002, PORT)] == ["ok", "EPERM"]
    assert guard.violations[BOUND] == 1
    assert len(guard.violations) == 2


@pytest.mark.needs("NETNS_COOKIE")
def test_a_socket_of_another_network_namespace(
    guard: Guard, binder: Binder, start_binder: StartBinder, places: tuple[Path, Path]
) -> None:
    """The socket's network is the one that counts: `network: host` cannot be left behind between
    socket() and bind(), and a task at home is free with a socket from elsewhere."""
    at_home = ("bind", "127.0.0.1", 9002)
    elsewhere = start_binder()
    assert binder.take(TCP).said == "ok"
    assert binder.ask(do="join_network", pid=elsewhere.pid) == 0
    assert binder.take(at_home).said == "EPERM"
    assert binder.take(TCP, at_home, name="foreign").port == 9002
    (event,) = guard.events()
    assert (event.netns_inode, event.flags) == (binder.network.inode, 1)


@pytest.mark.needs("NETNS_COOKIE")
def test_a_socket_of_another_network_listens(
    guard: Guard, binder: Binder, start_binder: StartBinder, places: tuple[Path, Path]
) -> None:
    """A socket that listens in another network than its task's is told with its own network."""
    binder.pick_from(9002, 9002)
    elsewhere = start_binder()
    assert binder.take(TCP).said == "ok"
    assert binder.ask(do="join_network", pid=elsewhere.pid) == 0
    stand = binder.take(LISTEN)
    assert (stand.port, stand.listening) == (9002, True)
    assert guard.violations == {("at-home", "/free", 9002, "tcp", "recorded"): 1}
    (event,) = guard.events()
    assert (event.netns_inode, event.flags) == (binder.network.inode, 1)
