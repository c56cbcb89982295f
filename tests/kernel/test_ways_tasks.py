"""Whose bind it is, when socket, task and cgroup are not all of one piece: the task's, always."""

from __future__ import annotations

from pathlib import Path

import pytest
from binder import Binder, StartBinder
from guard import Guard
from two_places import BIND, BOUND, LISTEN, PORT, TCP, assert_told, make_places


@pytest.fixture
def places(guard: Guard, binder: Binder, native_calls: Path) -> tuple[Path, Path]:
    """A cgroup that may not bind the port, and one that may, where the binder is."""
    binder.ask(do="native", path=str(native_calls))
    return make_places(guard, binder)


def test_passed_by_scm_rights(
    guard: Guard,
    binder: Binder,
    start_binder: StartBinder,
    places: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """A socket that was passed on is bound by whoever calls bind(), there and back."""
    bound, free = places
    other = start_binder(bound)
    for giver, taker, said in ((binder, other, "EPERM"), (other, binder, "ok")):
        channel = str(tmp_path / said)
        assert taker.take(("channel", channel)).said == "ok"
        assert giver.take(TCP, ("pass", channel)).said == "ok"
        stand = taker.take(("receive", channel), BIND, name="received")
        assert (stand.said, stand.port) == (said, PORT if said == "ok" else 0)
    assert guard.verdicts() == {"denied": 1, "allowed": 1}
    assert_told(guard, task=bound, maker=free, pid=other.pid)


def test_taken_by_pidfd_getfd(
    guard: Guard,
    binder: Binder,
    start_binder: StartBinder,
    places: tuple[Path, Path],
    native_calls: Path,
) -> None:
    """A task that takes another's socket and binds it is the one that is judged."""
    bound, free = places
    other = start_binder(bound)
    assert binder.take(TCP).said == "ok"
    other.ask(do="native", path=str(native_calls))
    fd = binder.ask(do="descriptor", name="socket")
    stand = other.take(("copy", binder.pid, fd), BIND)
    assert (stand.said, stand.failed, stand.port) == ("EPERM", "bind", 0)
    assert_told(guard, task=bound, maker=free, pid=other.pid)
    assert binder.take(BIND).port == PORT


@pytest.mark.parametrize("how", ["fork", "clone3"])
def test_inherited_by_a_child(
    how: str, guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """A child that starts in another cgroup, cloned right into it or not, is judged there."""
    bound, free = places
    assert binder.take(TCP).said == "ok"
    child = binder.spawn(how, cgroup=str(bound))
    stand = binder.take(BIND, child=True)
    assert (stand.said, stand.port) == ("EPERM", 0)
    assert_told(guard, task=bound, maker=free, pid=child)
    assert binder.take(BIND).port == PORT


def test_its_own_socket_after_clone3(
    guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """A child that was cloned into a cgroup is never seen in its parent's, at its first bind."""
    bound, _ = places
    child = binder.spawn("clone3", cgroup=str(bound))
    assert binder.take(TCP, BIND, child=True).said == "EPERM"
    assert_told(guard, task=bound, maker=bound, pid=child)


def test_kept_over_exec(guard: Guard, binder: Binder, places: tuple[Path, Path]) -> None:
    """An executed program binds what it inherited under its own name."""
    bound, free = places
    assert binder.take(TCP, name="mine").said == "ok"
    child = binder.spawn("exec", cgroup=str(bound), activated="mine")
    assert binder.take(BIND, name="activated", child=True).said == "EPERM"
    assert_told(guard, task=bound, maker=free, pid=child)


def test_socket_activation(guard: Guard, binder: Binder, places: tuple[Path, Path]) -> None:
    """A port that a service is activated with was bound by its manager: that bind is judged, and
    what the service then does with the socket is no bind."""
    bound, _ = places
    assert binder.take(TCP, BIND, LISTEN, name="mine").said == "ok"
    assert guard.binds == {("allowed", "tcp", "ipv4"): 1}
    binder.spawn("exec", cgroup=str(bound), activated="mine")
    stand = binder.take(LISTEN, name="activated", child=True)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert (guard.verdicts(), guard.violations) == ({"allowed": 1}, {})
    binder.forget()
    binder.move(bound)
    assert binder.take(TCP, BIND, LISTEN).said == "EPERM"
    assert guard.violations == {BOUND: 1}


def test_bound_by_one_listening_by_another(
    guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """Of a port that the kernel picked, the task that calls listen() is judged."""
    bound, free = places
    binder.pick_from(PORT, PORT)
    assert binder.take(TCP, ("bind", "127.0.0.1", 0), name="mine").port == PORT
    assert guard.verdicts() == {"allowed": 1}
    child = binder.spawn("exec", cgroup=str(bound), activated="mine")
    stand = binder.take(LISTEN, name="activated", child=True)
    assert (stand.said, stand.port, stand.listening) == ("ok", PORT, True)
    assert guard.verdicts() == {"recorded": 1}
    assert guard.violations == {("bound", "/bound", PORT, "tcp", "recorded"): 1}
    assert_told(guard, task=bound, maker=free, pid=child)


def test_moved_after_making_the_socket(
    guard: Guard, binder: Binder, places: tuple[Path, Path]
) -> None:
    """A process is judged where it is when it binds, not where it was when it made the socket."""
    bound, free = places
    assert binder.take(TCP, ("join", str(bound)), BIND).said == "EPERM"
    assert_told(guard, task=bound, maker=free, pid=binder.pid)
    assert binder.take(TCP, ("join", str(free)), BIND).port == PORT


def test_a_socket_from_outside_the_cgroup(
    guard: Guard, binder: Binder, scratch_cgroup: Path, places: tuple[Path, Path]
) -> None:
    """Attached below the root (`--cgroup`), a socket that was made outside is not seen, whoever
    binds it; one that was made inside is, by a task outside too."""
    bound, free = places
    binder.move(scratch_cgroup)
    assert binder.take(TCP, ("join", str(bound)), BIND).port == PORT
    assert guard.binds == {}
    binder.forget()
    assert binder.take(TCP, ("join", str(scratch_cgroup)), BIND).port == PORT
    assert guard.verdicts() == {"allowed": 1}
    binder.move(free)
