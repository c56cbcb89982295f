"""Numbers of constraints and workloads: the same over every publisher's life, never given twice."""

from __future__ import annotations

from binder import Binder
from guard import Guard
from refusals import heard

from portwatch.agent.publisher import Publisher
from portwatch.kernel import layout
from portwatch.kernel.maps import NAME_BYTES


def policy(*names: str) -> str:
    """A policy of constraints with these names."""
    lines = "".join(f"  - {{name: {name}, deny: [{9000 + n}]}}\n" for n, name in enumerate(names))
    return f"version: 1\nmode: enforce\nconstraints:\n{lines}"


def named(guard: Guard) -> dict[str, int]:
    """Name → number, as the map itself has them."""
    opened = guard.pin_dir.open_map("names")
    found: dict[str, int] = {}
    for key, value in opened.items():
        number = int.from_bytes(key, "little")
        if number:
            text = value.rstrip(b"\0").decode()
            assert text not in found, f"{text} has two numbers"
            found[text] = number
    opened.close()
    return found


def test_numbers_are_stable_over_publishers(guard: Guard, binder: Binder) -> None:
    """A name keeps its number through other policies and through publishers that come and go, so
    that counts go on under it."""
    guard.publish(policy("stable-a", "stable-b"))
    first = named(guard)
    guard.publish(policy("stable-c"))
    later = Guard(guard.pin_dir, guard.cgroup)
    later.publish(policy("stable-d", "stable-b", "stable-a"))
    assert {name: number for name, number in named(guard).items() if name in first} == first
    assert binder.bind(9002) == heard()
    assert binder.bind(9001) == heard()
    assert later.violations == {
        ("stable-a", "/", 9002, "tcp", "denied"): 1,
        ("stable-b", "/", 9001, "tcp", "denied"): 1,
    }
    assert {event.constraint for event in later.events()} == {first["stable-a"], first["stable-b"]}
    later.close()


def test_numbers_are_never_given_twice(guard: Guard) -> None:
    """A name that was dropped leaves its number unused for good, also for later publishers."""
    guard.publish(policy("dropped-a", "dropped-b"))
    first = named(guard)
    highest = max(first.values())
    gone = {first["dropped-a"], first["dropped-b"]}
    guard.publisher.names.forget_all_but(set(first.values()) - gone)
    assert "dropped-a" not in named(guard)
    guard.publish(policy("dropped-c", "dropped-a"))
    later = Guard(guard.pin_dir, guard.cgroup)
    later.publish(policy("dropped-d"))
    found = named(guard)
    fresh = {found[name] for name in ("dropped-a", "dropped-c", "dropped-d")}
    assert len(fresh) == 3
    assert min(fresh) > highest
    later.close()


def test_two_publishers_never_give_one_number_to_two_names(guard: Guard, binder: Binder) -> None:
    """Publishers that are open at the same time, as an agent and `portwatch apply` are, number
    each other's names alike."""
    other = Guard(guard.pin_dir, guard.cgroup)
    guard.publish(policy("mine-1"))
    mine = named(guard)
    other.publish(policy("theirs-1", "theirs-2"))
    theirs = named(guard)
    assert {name: theirs.get(name) for name in mine} == mine
    guard.publish(policy("mine-2", "theirs-2"))
    found = named(guard)
    assert {name: found.get(name) for name in theirs} == theirs
    assert found["mine-2"] not in theirs.values()
    assert binder.bind(9000) == heard()
    assert guard.violations == {("mine-2", "/", 9000, "tcp", "denied"): 1}
    assert other.violations == {("mine-2", "/", 9000, "tcp", "denied"): 1}
    other.close()


def test_a_long_name_keeps_its_end(guard: Guard) -> None:
    """A cgroup path that does not fit is cut at its start, where it tells least."""
    guard.make("/" + "long-" * 45 + "/" + "path-" * 20 + "/the-end")
    guard.publish(policy("whatever"))
    (name,) = [name for name in named(guard) if name.endswith("/path-" + "path-" * 19 + "/the-end")]
    assert name.startswith("…")
    assert len(name.encode()) <= NAME_BYTES


def test_an_unknown_number_is_other(guard: Guard) -> None:
    """What has no name, number 0 above all, is called `other`."""
    names = guard.publisher.names
    assert names.text(0) == "other"
    assert names.text(0xFFFFFF) == "other"


def test_a_publisher_reads_what_the_last_one_published(guard: Guard) -> None:
    """The text of the live policy is in the kernel, whole, for whoever opens the pins next."""
    text = policy("stored") + "# " + "x" * 100_000 + "\n"
    guard.publish(text)
    later = Publisher(guard.pin_dir, guard.tree, None)
    stored = later.stored()
    assert stored is not None
    assert stored.sources == (("policy.yaml", text),)
    assert later.slots.generation == guard.publisher.slots.generation
    assert later.slots.slot(later.slots.generation).generation == later.slots.generation
    later.close()
    assert layout.Control(later.slots.generation).generation > 0
