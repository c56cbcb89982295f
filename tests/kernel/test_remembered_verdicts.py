"""The programs remember that binds alike were allowed: never for a bind that is not quite alike."""

from __future__ import annotations

import time

import pytest
from binder import Bind, Binder, StartBinder
from guard import Guard
from refusals import heard

from portwatch.kernel import layout

N = 23


def policy(*constraints: str) -> str:
    """An enforced policy of these constraints."""
    lines = "".join(f"  - {{{constraint}}}\n" for constraint in constraints)
    return f"version: 1\nmode: enforce\nconstraints:\n{lines}"


PAIRS: dict[str, tuple[str, Bind, Bind]] = {
    "user": (
        "name: no, for: {user: alice}, deny: [9000]",
        Bind(9000, uid=1001),
        Bind(9000, uid=1000),
    ),
    "group": (
        "name: no, for: {group: staff}, deny: [9000]",
        Bind(9000, gid=51),
        Bind(9000, gid=50),
    ),
    "all users but one": (
        "name: no, except: {user: root}, deny: [9000]",
        Bind(9000, uid=0),
        Bind(9000, uid=4242),
    ),
    "port": ("name: no, deny: [9000]", Bind(9001), Bind(9000)),
    "protocol": ("name: no, deny: [9000/udp]", Bind(9000), Bind(9000, protocol="udp")),
    "address": (
        "name: no, addresses: [127.0.0.2], deny: [9000]",
        Bind(9000, "127.0.0.1"),
        Bind(9000, "127.0.0.2"),
    ),
    "v6-only": (
        "name: no, addresses: [0.0.0.0], deny: [9000]",
        Bind(9000, "::", v6only=True),
        Bind(9000, "::", v6only=False),
    ),
    "family": (
        "name: no, addresses: ['::'], deny: [9000]",
        Bind(9000, "0.0.0.0"),
        Bind(9000, "::", v6only=True),
    ),
}


@pytest.mark.parametrize("what", PAIRS)
def test_binds_that_differ_in_one_thing(what: str, guard: Guard, binder: Binder) -> None:
    """Two binds in turn that differ in one thing keep their own verdicts, each time."""
    text, allowed, denied = PAIRS[what]
    guard.publish(policy(text))
    assert [a.said for a in binder.answers([allowed, denied], N)] == ["ok", heard()] * N
    assert guard.verdicts() == {"allowed": N, "denied": N}


@pytest.mark.needs("NETNS_COOKIE")
def test_networks_in_turn(guard: Guard, binder: Binder, start_binder: StartBinder) -> None:
    """The same bind in the same cgroup is denied in one network and allowed in the other."""
    elsewhere = start_binder()
    guard.publish(policy("name: no, network: host, deny: [9000]"))
    for _ in range(N):
        assert (elsewhere.bind(9000), binder.bind(9000)) == ("ok", heard())
    assert guard.verdicts() == {"allowed": N, "denied": N}


def test_cgroups_in_turn(guard: Guard, binder: Binder) -> None:
    """The same bind moves from an allowed cgroup to a denied one and back."""
    shop, other = guard.make("/shop"), guard.make("/other")
    guard.publish(policy("name: no, for: {cgroup: /shop}, deny: [9000]"))
    for _ in range(N):
        binder.move(other)
        assert binder.bind(9000) == "ok"
        binder.move(shop)
        assert binder.bind(9000) == heard()
    assert guard.verdicts() == {"allowed": N, "denied": N}


def test_an_allowed_bind_is_asked_anew_of_each_policy(guard: Guard, binder: Binder) -> None:
    """However often a bind was allowed, the next policy denies it at once, and the one after
    allows it again."""
    for number in range(N):
        guard.publish(policy("name: other, deny: [9001]"))
        assert {a.said for a in binder.answers([Bind(9000)], N)} == {"ok"}, number
        guard.publish(policy("name: no, deny: [9000]"))
        assert {a.said for a in binder.answers([Bind(9000)], N)} == {heard()}, number


def test_an_unknown_cgroup_is_asked_anew(guard: Guard, binder: Binder) -> None:
    """What a new cgroup was allowed by its parent's constraints ends when it has its own."""
    guard.publish(policy("name: no, for: {cgroup: /late}, deny: [9000]"))
    binder.move(guard.make("/late"))
    assert {a.said for a in binder.answers([Bind(9000)], N)} == {"ok"}
    assert guard.publisher.cgroups.classify("/late")
    assert {a.said for a in binder.answers([Bind(9000)], N)} == {heard()}


def test_recorded_binds_are_recorded_each_time(guard: Guard, binder: Binder) -> None:
    """A bind that is let through but recorded is no allowed one: each is a violation."""
    guard.publish(policy("name: trial, mode: record, deny: [9000]"))
    binder.answers([Bind(9000), Bind(9001)], N)
    assert guard.violations == {("trial", "/", 9000, "tcp", "recorded"): N}


def test_more_binds_than_are_remembered(guard: Guard, start_binder: StartBinder) -> None:
    """While binds of far more kinds than there is memory for come and go from several processes,
    a denied port stays denied, and every bind is counted with its verdict."""
    guard.publish(policy("name: no, deny: [9000]"))
    observed = guard.pin_dir.open_map("observed")
    room = observed.max_entries
    observed.close()
    binders = [start_binder() for _ in range(4)]
    for number, binder in enumerate(binders):
        kinds = [
            Bind(
                9000 if n % 8 == 0 else 10_000 + n % 40_000,
                f"127.{number}.{n >> 8 & 255}.{n & 255}",
            )
            for n in range(room)
        ]
        binder.start_storm(kinds)
    time.sleep(4)
    made = {"ok": 0, heard(): 0}
    for binder in binders:
        for (index, said), count in binder.end_storm().items():
            assert said == (heard() if index % 8 == 0 else "ok")
            made[said] += count
    assert sum(made.values()) > 3 * room
    assert guard.verdicts() == {"allowed": made["ok"], "denied": made[heard()]}


@pytest.mark.parametrize("what", PAIRS)
def test_without_secret_factors_nothing_is_remembered(
    what: str, guard: Guard, binder: Binder
) -> None:
    """Where the factors of the fingerprint are missing, every bind is judged anew, and rightly."""
    control = guard.pin_dir.open_map("control")
    kept = control.get(bytes(4)) or b""
    text, allowed, denied = PAIRS[what]
    try:
        record = layout.Control.from_buffer_copy(kept)
        record.seeds = type(record.seeds)()
        control.put(bytes(4), bytes(record))
        guard.publish(policy(text))
        said = [answer.said for answer in binder.answers([allowed, denied], N)]
    finally:
        record = layout.Control.from_buffer_copy(control.get(bytes(4)) or b"")
        record.seeds = layout.Control.from_buffer_copy(kept).seeds
        control.put(bytes(4), bytes(record))
        control.close()
    assert said == ["ok", heard()] * N
    observed = guard.pin_dir.open_map("observed")
    assert observed.items()
    observed.close()
