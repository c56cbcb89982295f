"""No cgroup is ever taken for another: ids, paths that come again, odd names, depths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from binder import Binder
from guard import Guard
from refusals import heard
from test_cgroup_classes import keys_of, known

from portwatch.kernel import layout
from portwatch.node.cgroups import CgroupTree, cgroup_of_process
from portwatch.node.paths import HostPaths

AGAIN = 2000
MANY = 10_000
AT_ONCE = 1000
DEEP = 40  # levels, beyond those that the kernel's side walks on a miss
TOO_DEEP = 20  # of 255 bytes each: no system call takes such a path
POLICY = """
version: 1
mode: enforce
constraints:
  - {name: red, for: {cgroup: /red/**}, deny: [9001]}
  - {name: blue, for: {cgroup: /blue/**}, deny: [9002]}
"""
RED, BLUE, NONE = [heard(), "ok"], ["ok", heard()], ["ok", "ok"]


def said(binder: Binder) -> list[str]:
    """What the process gets for red's port, and for blue's."""
    return [binder.bind(9001), binder.bind(9002)]


def class_of(guard: Guard, number: int) -> int | None:
    """The class that the kernel's table has for a cgroup id."""
    opened = guard.pin_dir.open_map("cgroups")
    key = layout.CgroupKey(id=number, generation=guard.publisher.slots.generation)
    raw = opened.get(bytes(key))
    opened.close()
    return None if raw is None else int(layout.CgroupClass.from_buffer_copy(raw).class_)


def holds(guard: Guard) -> None:
    """The kernel's table, what the publisher knows and the hierarchy are the same."""
    assert known(guard) == guard.tree.scan()
    assert keys_of(guard) == set(known(guard).values())


def remove(places: Iterable[Path]) -> None:
    """The innermost last in, first out."""
    for place in reversed(list(places)):
        place.rmdir()


def test_the_kernel_never_gives_an_id_twice(guard: Guard) -> None:
    """Ids are 64 bits that only grow (kernfs counts its inodes up, and the upper half each time
    the lower one wraps), so that an id which is gone can be nobody else's."""
    place = guard.cgroup / "again"
    ids = []
    for _ in range(AGAIN):
        place.mkdir()
        ids.append(place.stat().st_ino)
        place.rmdir()
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("look", ["classify", "rescan"])
def test_a_place_that_changed_hands_between_two_looks(
    guard: Guard, binder: Binder, look: str
) -> None:
    """A path that was removed and made again is another cgroup: nothing is left of the first, in
    the kernel's table neither, and until the second is classified its parent's class holds."""
    old = guard.make("/red/a").stat().st_ino
    guard.publish(POLICY)
    red = class_of(guard, old)
    (guard.cgroup / "red/a").rmdir()
    (guard.cgroup / "red").rmdir()
    place = guard.make("/red/a")
    new = place.stat().st_ino
    assert (class_of(guard, old), class_of(guard, new)) == (red, None)
    binder.move(place)
    assert said(binder) == NONE, "its parent is new too, and not known yet"
    if look == "classify":
        guard.publisher.cgroups.classify_all(["/red", "/red/a"])
    else:
        guard.publisher.cgroups.rescan()
    assert (class_of(guard, old), class_of(guard, new)) == (None, red)
    assert said(binder) == RED
    assert guard.publisher.cgroups.path_of(old) is None
    holds(guard)


def test_two_that_exchange_their_names(guard: Guard, binder: Binder) -> None:
    """Where both removals were missed, each new one has the class of its own place."""
    for path in ("/red/x", "/blue/x"):
        guard.make(path)
    guard.publish(POLICY)
    stale = set(known(guard).values())
    remove([guard.cgroup / path for path in ("red", "blue", "red/x", "blue/x")])
    for path, expected in (("/blue/x", BLUE), ("/red/x", RED)):
        binder.move(guard.make(path))
        guard.publisher.cgroups.classify_all(["/blue", "/red", "/blue/x", "/red/x"])
        assert said(binder) == expected
    assert keys_of(guard) & stale == {known(guard)["/"]}
    holds(guard)


def test_many_at_once_have_each_their_own_class(guard: Guard) -> None:
    """However many are told of in one go, in whatever order, each has the class of its path."""
    guard.make("/red")
    guard.make("/blue")
    guard.publish(POLICY)
    of = {top: class_of(guard, known(guard)[top]) for top in ("/red", "/blue")}
    assert of["/red"] != of["/blue"]
    paths = [f"/{('red', 'blue')[n % 2]}/n{n}" for n in range(AT_ONCE)]
    for path in paths:
        (guard.cgroup / path[1:]).mkdir()
    gone = paths[::5]
    for path in gone:
        (guard.cgroup / path[1:]).rmdir()
    there = guard.publisher.cgroups.classify_all([*reversed(paths), *paths])
    assert there.keys() == set(paths) - set(gone)
    for path, number in there.items():
        assert class_of(guard, number) == of[path[: path.rindex("/")]], path
    holds(guard)


def test_ten_thousand_come_and_go(guard: Guard) -> None:
    """Made, classified and removed, they leave the table as it was, told one way or the other."""
    guard.make("/red")
    guard.publish(POLICY)
    before = keys_of(guard)
    for way in ("told", "rescanned"):
        paths = [f"/red/{way}-{n}" for n in range(MANY // 2)]
        places = [guard.cgroup / path[1:] for path in paths]
        for place in places:
            place.mkdir()
        told = [paths[n : n + AT_ONCE] for n in range(0, len(paths), AT_ONCE)]
        for some in told if way == "told" else ():
            guard.publisher.cgroups.classify_all(some)
        guard.publisher.cgroups.rescan()
        assert len(keys_of(guard)) == len(before) + len(paths)
        remove(places)
        for some in told if way == "told" else ():
            guard.publisher.cgroups.classify_all(some)
        if way == "rescanned":
            guard.publisher.cgroups.rescan()
        assert keys_of(guard) == before
    holds(guard)


def test_the_nearest_known_ancestor_holds(guard: Guard, binder: Binder) -> None:
    """A new cgroup has the class of the nearest ancestor that is known, level by level."""
    guard.make("/blue")
    guard.publish(POLICY)
    guard.make("/blue/a/b/c/d")
    binder.move(guard.cgroup / "blue/a/b/c/d")
    assert said(binder) == BLUE
    red = class_of(guard, guard.publisher.cgroups.classify_all(["/blue/a/b"])["/blue/a/b"])
    assert red == class_of(guard, known(guard)["/blue"])
    assert said(binder) == BLUE
    assert sorted(guard.violations) == [
        ("blue", "/blue", 9002, "tcp", "denied"),
        ("blue", "/blue/a/b", 9002, "tcp", "denied"),
    ]


def test_a_process_that_moves_deeper(guard: Guard, binder: Binder) -> None:
    """A process is judged by where it is now; cgroups themselves cannot be moved."""
    places = [guard.make(path) for path in ("/red", "/blue/deep/er", "/plain")]
    guard.publish(POLICY)
    for place, expected in zip([*places, places[0]], [RED, BLUE, NONE, RED], strict=True):
        binder.move(place)
        assert said(binder) == expected
    with pytest.raises(OSError, match=r"."):
        places[2].rename(guard.cgroup / "red/plain")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"a b\tc", b"\\040", b" (deleted)", b"..x", b"*", b"x" * 255]
)
def test_odd_names(guard: Guard, binder: Binder, name: bytes) -> None:
    """Whatever bytes a name has, and however long it is, the cgroup is known by its path."""
    guard.publish(POLICY)
    path = os.fsdecode(b"/red/" + name)
    place = guard.make(path)
    binder.move(place)
    assert guard.publisher.cgroups.classify_all(["/red", path]).keys() == {"/red", path}
    assert said(binder) == RED
    assert guard.publisher.cgroups.path_of(place.stat().st_ino) == path
    holds(guard)
    guard.publish(POLICY)
    holds(guard)


def test_deeper_than_the_kernel_walks(guard: Guard, binder: Binder) -> None:
    """Below the levels that are walked on a miss a cgroup is found by its own id."""
    guard.publish(POLICY)
    place = guard.make("/red" + "/d" * DEEP)
    guard.publisher.cgroups.rescan()
    binder.move(place)
    assert said(binder) == RED
    holds(guard)


def test_longer_than_any_path(guard: Guard, binder: Binder) -> None:
    """A cgroup that no path reaches hurts nobody: the nearest that one reaches holds for it."""
    guard.make("/red")
    guard.publish(POLICY)
    descriptors = [os.open(guard.cgroup / "red", os.O_RDONLY)]
    name = "d" * 255
    try:
        for _ in range(TOO_DEEP):
            os.mkdir(name, dir_fd=descriptors[-1])
            descriptors.append(os.open(name, os.O_RDONLY, dir_fd=descriptors[-1]))
        inside = os.open("cgroup.procs", os.O_WRONLY, dir_fd=descriptors[-1])
        os.write(inside, str(binder.pid).encode())
        os.close(inside)
        path = "/red" + f"/{name}" * TOO_DEEP
        assert guard.publisher.cgroups.classify_all([path]) == {}
        told = cgroup_of_process(HostPaths(), binder.pid)
        assert told is None or f"/{guard.cgroup.name}{path}".startswith(told)
        guard.publisher.cgroups.rescan()
        assert said(binder) == RED
        guard.publish(POLICY)
        assert said(binder) == RED
        holds(guard)
        assert len(known(guard)) > TOO_DEEP // 2
    finally:
        binder.move(guard.cgroup)
        while len(descriptors) > 1:
            os.close(descriptors.pop())
            os.rmdir(name, dir_fd=descriptors[-1])
        os.close(descriptors.pop())


def test_a_scan_while_cgroups_come_and_go(guard: Guard, tmp_path: Path) -> None:
    """Whatever vanishes under a scan is left out, and what stays is found with its own id."""
    stays = {f"/stays-{n}": guard.make(f"/stays-{n}").stat().st_ino for n in range(50)}
    stop = tmp_path / "stop"
    pid = os.fork()
    if pid == 0:
        try:
            while not stop.exists():
                for n in range(50):
                    os.makedirs(guard.cgroup / f"goes-{n}/in/side")
                for n in range(50):
                    os.removedirs(guard.cgroup / f"goes-{n}/in/side")
        except OSError:
            os._exit(1)
        finally:
            os._exit(0)
    try:
        for _ in range(200):
            found = CgroupTree(guard.cgroup).scan()
            assert stays.items() <= found.items()
            assert len(set(found.values())) == len(found)
    finally:
        stop.touch()
        os.waitpid(pid, 0)
