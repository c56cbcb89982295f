"""Cgroups come and go while a policy is live: told, classified, forgotten."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from binder import Binder
from guard import Guard
from refusals import heard
from scratch import fresh_name

from portwatch.agent.cgroup_keeper import CgroupChange
from portwatch.errors import PolicyError
from portwatch.kernel import layout
from portwatch.kernel.ringbuf import RingReader
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

N = 23
SHOP = """
version: 1
mode: enforce
constraints:
  - {name: shop, for: {cgroup: "/shop/*"}, deny: [9000]}
"""


def keys_of(guard: Guard) -> set[int]:
    """The cgroup ids that the live policy has classified in the kernel."""
    opened = guard.pin_dir.open_map("cgroups")
    keys = [layout.CgroupKey.from_buffer_copy(key) for key, _ in opened.items()]
    opened.close()
    live = guard.publisher.slots.generation
    return {key.id for key in keys if key.generation == live}


def known(guard: Guard) -> dict[str, int]:
    """The cgroups that the publisher takes for classified: path → id."""
    assert guard.publisher.live
    return guard.publisher.live.ids


def test_a_new_cgroup_is_classified(guard: Guard, binder: Binder) -> None:
    """A cgroup made under a live policy has its parent's constraints until it is classified, and
    from then on its own."""
    guard.make("/shop")
    guard.publish(SHOP)
    place = guard.make("/shop/api")
    binder.move(place)
    assert binder.bind(9000) == "ok"
    assert guard.publisher.cgroups.classify("/shop/api") is True
    assert binder.bind(9000) == heard()
    assert guard.violations == {("shop", "/shop/api", 9000, "tcp", "denied"): 1}
    assert guard.publisher.cgroups.path_of(place.stat().st_ino) == "/shop/api"


def test_many_new_cgroups_of_many_classes(guard: Guard, binder: Binder) -> None:
    """Classes that no cgroup had when the policy was published are made as cgroups appear."""
    constraints = "".join(
        f"  - {{name: c{n}, for: {{cgroup: /c{n}}}, deny: [{9000 + n}]}}\n" for n in range(N)
    )
    guard.publish(f"version: 1\nmode: enforce\nconstraints:\n{constraints}")
    for n in range(N):
        binder.move(guard.make(f"/c{n}"))
        assert guard.publisher.cgroups.classify(f"/c{n}")
        assert binder.bind(9000 + n) == heard()
        assert binder.bind(9000 + (n + 1) % N) == "ok"
    assert guard.violations == {(f"c{n}", f"/c{n}", 9000 + n, "tcp", "denied"): 1 for n in range(N)}


def test_a_cgroup_that_vanished(guard: Guard) -> None:
    """A cgroup that is gone before it is classified is no error, and enters no table."""
    guard.publish(SHOP)
    before = keys_of(guard)
    guard.make("/gone").rmdir()
    assert guard.publisher.cgroups.classify("/gone") is False
    assert guard.publisher.cgroups.classify("/never/there") is False
    assert keys_of(guard) == before


def test_cgroups_that_vanish_while_they_are_scanned(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cgroup that vanishes between the scan and its entry hurts nobody, and the next rescan
    drops it."""
    place = guard.make("/short/lived")
    number = place.stat().st_ino
    scan = type(guard.tree).scan

    def scan_then_vanish(tree: object) -> dict[str, int]:
        found = scan(guard.tree)
        if place.exists():
            place.rmdir()
        return found

    monkeypatch.setattr(type(guard.tree), "scan", scan_then_vanish)
    guard.publish(SHOP)
    assert number in keys_of(guard)
    monkeypatch.undo()
    guard.publisher.cgroups.rescan()
    assert number not in keys_of(guard)
    assert guard.publisher.cgroups.path_of(number) is None


def test_forget_drops_a_cgroup_that_is_gone(guard: Guard) -> None:
    """A removed cgroup leaves the kernel's table; one that is still there, as where one of its
    name was removed in another hierarchy, stays in it."""
    paths = ("/gone", "/gone/a", "/gone-not", "/stays")
    ids = {path: guard.make(path).stat().st_ino for path in paths}
    guard.publish(SHOP)
    assert set(ids.values()) <= keys_of(guard)
    for path in ("/gone/a", "/gone"):
        (guard.cgroup / path[1:]).rmdir()
        guard.publisher.cgroups.forget(path)
    guard.publisher.cgroups.forget("/stays")
    guard.publisher.cgroups.forget("/never/there")
    assert {path for path, number in ids.items() if number in keys_of(guard)} == {
        "/gone-not",
        "/stays",
    }
    assert set(known(guard)) == {"/", "/gone-not", "/stays"}
    assert guard.publisher.cgroups.path_of(ids["/gone/a"]) is None
    assert guard.publisher.cgroups.path_of(ids["/stays"]) == "/stays"


def test_a_cgroup_made_again_under_its_name(guard: Guard, binder: Binder) -> None:
    """Where the removal was missed, classifying the new one drops the old one's id."""
    old = guard.make("/shop/api").stat().st_ino
    guard.publish(SHOP)
    (guard.cgroup / "shop/api").rmdir()
    again = guard.make("/shop/api")
    assert guard.publisher.cgroups.classify("/shop/api")
    assert old not in keys_of(guard)
    binder.move(again)
    assert binder.bind(9000) == heard()
    assert guard.publisher.cgroups.path_of(again.stat().st_ino) == "/shop/api"


def test_rescan_finds_what_came_and_went(guard: Guard, binder: Binder) -> None:
    """A rescan classifies what is new, drops what is gone, and tells apart a cgroup that was
    removed and made again under the same path."""
    guard.make("/shop")
    old = guard.make("/shop/again")
    guard.make("/shop/gone")
    guard.publish(SHOP)
    (guard.cgroup / "shop/gone").rmdir()
    old_id = old.stat().st_ino
    old.rmdir()
    again = guard.make("/shop/again")
    new = guard.make("/shop/new")
    guard.publisher.cgroups.rescan()
    assert set(known(guard)) == {"/", "/shop", "/shop/again", "/shop/new"}
    assert keys_of(guard) == set(known(guard).values())
    assert old_id not in keys_of(guard)
    for place in (again, new):
        binder.move(place)
        assert binder.bind(9000) == heard()


def test_a_superseded_publisher_leaves_the_others_policy_alone(
    guard: Guard, binder: Binder
) -> None:
    """Whoever was superseded enters no cgroup of its own policy into the other's."""
    guard.make("/shop")
    guard.publish(SHOP)
    other = Guard(guard.pin_dir, guard.cgroup)
    other.publish(SHOP.replace("/shop/*", "/elsewhere"))
    binder.move(guard.make("/shop/api"))
    before = keys_of(other)
    guard.publisher.cgroups.classify("/shop/api")
    guard.publisher.cgroups.rescan()
    assert keys_of(other) == before
    assert binder.bind(9000) == "ok"
    other.close()


# 131 user classes times 131 group classes: more than the subjects table has room for.
TOO_MUCH = "version: 1\nmode: enforce\nconstraints:\n" + "".join(
    f"  - {{name: {key[0]}{n}, for: {{{key}: {n}}}, errno: EPERM, deny: [{8000 + n}]}}\n"
    f"  - {{name: {key[0]}a{n}, for: {{{key}: {n}}}, addresses: [127.0.{n}.0/24],"
    f" deny: [9000]}}\n"
    for n in range(1, 131)
    for key in ("user", "group")
)
LOOPBACK = """
version: 1
mode: enforce
constraints:
  - {name: local, addresses: [127.0.0.0/8], deny: [9000]}
"""
NOBODY = AccountTable({}, {})


def test_a_policy_that_does_not_fit_leaves_the_old_one_live(guard: Guard, binder: Binder) -> None:
    """PolicyError, and then the old policy judges on, knows its cgroups, and takes new ones."""
    place = guard.make("/shop/api")
    guard.publish(SHOP)
    live = guard.publisher.slots.generation
    with pytest.raises(PolicyError, match="too much"):
        guard.publish(TOO_MUCH, NOBODY)
    assert guard.publisher.slots.generation == live
    binder.move(place)
    assert binder.bind(9000) == heard()
    assert binder.bind(8001, uid=1) == "ok"
    assert guard.publisher.cgroups.path_of(place.stat().st_ino) == "/shop/api"
    assert set(known(guard)) == {"/", "/shop", "/shop/api"}
    binder.move(guard.make("/shop/new"))
    assert guard.publisher.cgroups.classify("/shop/new")
    assert binder.bind(9000) == heard()
    binder.move(guard.cgroup)
    place.rmdir()
    guard.publisher.cgroups.forget("/shop/api")
    assert set(known(guard)) == {"/", "/shop", "/shop/new"}


def test_a_policy_that_did_not_fit_leaves_nothing_to_the_next(guard: Guard, binder: Binder) -> None:
    """The next policy is judged by its own tables alone, none of the refused one's among them."""
    guard.publish(SHOP)
    with pytest.raises(PolicyError, match="too much"):
        guard.publish(TOO_MUCH, NOBODY)
    guard.publish(LOOPBACK)
    said = {n: binder.bind(9000, f"127.0.{n}.1") for n in range(0, 140)}
    assert said == dict.fromkeys(range(0, 140), heard())
    addresses = guard.pin_dir.open_map("addresses")
    assert len(list(addresses.items())) == len(guard.publisher.live.compiled.address_classes)  # type: ignore[union-attr]
    addresses.close()


@pytest.fixture
def told(guard: Guard) -> Iterator[RingReader]:
    """The ring of cgroup events, emptied."""
    reader = RingReader(guard.pin_dir.open_map("cgroup_events"), ctypes.sizeof(layout.CgroupEvent))
    while reader.read():
        pass
    yield reader
    reader.close()


def about(reader: RingReader, name: str) -> list[tuple[str, int]]:
    """(path, removed) of each event about cgroups whose path holds `name`, in order."""
    found = []
    while records := reader.read():
        for record in records:
            event = layout.CgroupEvent.from_buffer_copy(record)
            assert event.kind == layout.EVENT_CGROUP
            found.append((event.path.decode(), event.removed))
    return [(path, removed) for path, removed in found if name in path]


def test_cgroups_made_and_removed_are_told(guard: Guard, told: RingReader) -> None:
    """Each mkdir and each rmdir is one event, in order, with the path from the hierarchy's root."""
    name = fresh_name()
    top = "/" + str(guard.cgroup.relative_to(find_cgroup2(HostPaths())))
    expected = []
    for n in range(N):
        place = guard.make(f"/{name}-{n}")
        inner = guard.make(f"/{name}-{n}/inner")
        inner.rmdir()
        place.rmdir()
        path = f"{top}/{name}-{n}"
        expected += [(path, 0), (path + "/inner", 0), (path + "/inner", 1), (path, 1)]
    assert about(told, name) == expected


def test_a_long_path_is_told_cut(guard: Guard, told: RingReader) -> None:
    """A path longer than the record is told as far as it fits, and the next ones whole."""
    name = fresh_name()
    deep = guard.cgroup / name
    deep.mkdir()
    for _ in range(5):
        deep = deep / ("d" * 250)
        deep.mkdir()
    events = about(told, name)
    top = "/" + str(guard.cgroup.relative_to(find_cgroup2(HostPaths())))
    whole = f"{top}/{name}" + ("/" + "d" * 250) * 5
    room = layout.CGROUP_PATH_BYTES - 1
    assert len(events) == 6
    assert events[-1] == (whole[:room], 0)
    assert events[1] == (f"{top}/{name}/" + "d" * 250, 0)


def test_a_full_ring_of_cgroup_events_counts_what_it_loses(
    guard: Guard, told: RingReader, tmp_path: Path
) -> None:
    """Told and lost cgroups together are all that were made and removed."""
    name = fresh_name()
    made = 1500
    before = guard.totals.cgroup_events_lost
    place = guard.cgroup / name
    for _ in range(made):
        place.mkdir()
        place.rmdir()
    lost = guard.totals.cgroup_events_lost - before
    assert lost > 0
    assert len(about(told, "/")) + lost >= 2 * made
    place.mkdir()
    assert about(told, name)[-1][1] == 0


@pytest.fixture
def rooted(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A guard whose paths are the kernel's own, as where the root of cgroup2 is mounted."""
    monkeypatch.setitem(vars(guard.tree), "is_whole", True)
    return guard


class Follower:
    """Who is told which cgroups there are."""

    def __init__(self) -> None:
        self.there: set[str] = set()

    def seen(self, paths: Iterable[str]) -> None:
        """They are."""
        self.there.update(paths)

    def gone(self, path: str) -> None:
        """It is not."""
        self.there.discard(path)


def test_a_follower_knows_what_is_there(rooted: Guard) -> None:
    """Whoever follows is told of every cgroup that comes and goes, also between two policies, and
    of one that the kernel tells of too late."""
    follower = Follower()
    rooted.publisher.cgroups._followers = (follower,)
    places = {name: rooted.make(name) for name in ("/stays", "/between", "/told", "/scanned")}
    rooted.publish(SHOP)
    assert places.keys() <= follower.there
    places["/between"].rmdir()
    rooted.publish(SHOP)
    assert "/between" not in follower.there
    number = places["/told"].stat().st_ino
    places["/told"].rmdir()
    rooted.publisher.cgroups.follow([CgroupChange("/told", number, removed=True)])
    assert rooted.publisher.cgroups.path_of(number) == "/told", "for the events of what ran in it"
    places["/scanned"].rmdir()
    rooted.publisher.cgroups.rescan()
    later = rooted.make("/later")
    rooted.publisher.cgroups.follow([CgroupChange("/later", later.stat().st_ino, removed=False)])
    later.rmdir()
    rooted.publish(SHOP)
    assert follower.there & {*places, "/later"} == {"/stays"}


def test_made_and_removed_in_one_look(rooted: Guard) -> None:
    """A place that changed hands while nobody looked is its last owner's; one that is empty again
    is nobody's; each id that was there keeps its name for the events to come."""
    rooted.publish(SHOP)
    first = rooted.make("/x")
    one = first.stat().st_ino
    first.rmdir()
    two = rooted.make("/x").stat().st_ino
    rooted.publisher.cgroups.follow(
        [
            CgroupChange("/x", one, removed=False),
            CgroupChange("/y", 7_000_000, removed=False),
            CgroupChange("/x", one, removed=True),
            CgroupChange("/y", 7_000_000, removed=True),
            CgroupChange("/x", two, removed=False),
        ]
    )
    assert known(rooted)["/x"] == two and "/y" not in known(rooted)
    assert {two} <= keys_of(rooted) and not {one, 7_000_000} & keys_of(rooted)
    assert [rooted.publisher.cgroups.path_of(n) for n in (one, two, 7_000_000)] == [
        "/x",
        "/x",
        "/y",
    ]
