"""Binds that are let through become events where an agent wants them, and cost nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from binder import Bind, Binder, StartBinder
from guard import Guard

from portwatch.kernel import layout

N = 23
NOBODY = "version: 1\nmode: enforce\nconstraints: []\n"


@pytest.fixture
def logging_guard(guard: Guard) -> Iterator[Guard]:
    """A guard whose programs log binds, for one test, and have seen none so far."""
    observed = guard.pin_dir.open_map("observed")
    observed.delete_all(list(observed.keys()))
    observed.close()
    guard.publisher.slots.log_binds(True)
    yield guard
    guard.publisher.slots.log_binds(False)


def told(guard: Guard) -> list[tuple[int, int, int]]:
    """Port, uid and count of the binds that were logged since the last look."""
    return [
        (event.requested_port, event.uid, event.count)
        for event in guard.events()
        if event.kind == layout.EVENT_BIND
    ]


def test_nothing_is_logged_unasked(guard: Guard, binder: Binder) -> None:
    """Without the wish, a bind that is let through makes no event."""
    guard.publish(NOBODY)
    binder.answers([Bind(9000), Bind(0)], N)
    assert guard.events() == []


def test_a_bind_is_logged_with_who_made_it(logging_guard: Guard, binder: Binder) -> None:
    """The first of its kind at once, with process, uid, address and the verdict `allowed`."""
    logging_guard.publish(NOBODY)
    assert binder.bind(9000, "::1", uid=1234, gid=4321) == "ok"
    (event,) = logging_guard.events()
    assert (event.kind, event.verdict, event.count) == (layout.EVENT_BIND, 0, 1)
    assert (event.pid, event.uid, event.gid) == (binder.pid, 1234, 4321)
    assert (event.port, bytes(event.address)) == (9000, bytes(15) + b"\x01")
    assert event.netns_inode == binder.network.inode


def test_each_kind_of_bind_is_logged(logging_guard: Guard, binder: Binder) -> None:
    """Another port, address, protocol, or a port for the kernel to pick is another kind."""
    logging_guard.publish(NOBODY)
    kinds = [
        Bind(9000),
        Bind(9001),
        Bind(9000, "127.0.0.2"),
        Bind(9000, protocol="udp"),
        Bind(0),
        Bind(9000, "::1"),
    ]
    binder.answers(kinds)
    assert [(port, count) for port, _, count in told(logging_guard)] == [
        (bind.port, 1) for bind in kinds
    ]


def test_a_repeated_bind_is_folded_into_later_events(logging_guard: Guard, binder: Binder) -> None:
    """Many of one kind are few events, and their counts never exceed what was bound."""
    logging_guard.publish(NOBODY)
    made = 0
    counts: list[int] = []
    while len(counts) < 3:
        binder.answers([Bind(9000)], N)
        made += N
        counts += [count for _, _, count in told(logging_guard)]
    assert counts[0] == 1
    assert all(count > 1 for count in counts[1:])
    assert sum(counts) <= made
    assert len(counts) < made / N


def test_violations_are_not_logged_as_binds(logging_guard: Guard, binder: Binder) -> None:
    """A denied or recorded bind is told once, as what it is."""
    logging_guard.publish(
        "version: 1\nmode: enforce\nconstraints:\n"
        "  - {name: no, deny: [9001]}\n  - {name: trial, mode: record, deny: [9002]}\n"
    )
    binder.answers([Bind(9000), Bind(9001), Bind(9002)])
    kinds = [(event.kind, event.port) for event in logging_guard.events()]
    assert kinds == [
        (layout.EVENT_BIND, 9000),
        (layout.EVENT_VIOLATION, 9001),
        (layout.EVENT_VIOLATION, 9002),
    ]


def test_one_that_may_and_one_that_may_not(logging_guard: Guard, binder: Binder) -> None:
    """Where the policy tells users apart, one's denied bind does not hide another's."""
    logging_guard.publish(
        "version: 1\nmode: enforce\nconstraints:\n  - {name: no, for: {user: alice}, deny: [9000]}"
    )
    binder.answers([Bind(9000, uid=1000), Bind(9000, uid=1001)])
    assert told(logging_guard) == [(9000, 1001, 1)]


def test_a_new_policy_logs_anew_what_was_seen_long_ago(
    logging_guard: Guard, start_binder: StartBinder
) -> None:
    """What was bound before anybody wanted a log is logged when it is bound again."""
    guard, binder = logging_guard, start_binder()
    guard.publisher.slots.log_binds(False)
    guard.publish(NOBODY)
    binder.answers([Bind(9000)], N)
    guard.publisher.slots.log_binds(True)
    guard.publish(NOBODY)
    binder.answers([Bind(9000)])
    assert [port for port, _, _ in told(guard)] == [9000]


def test_a_flood_leaves_violations_their_room(logging_guard: Guard, binder: Binder) -> None:
    """More kinds of bind than the ring holds: what no event stands for is counted, and a violation
    is told all the same."""
    guard = logging_guard
    guard.publish("version: 1\nmode: enforce\nconstraints: [{name: no, deny: [9000]}]")
    kinds = [Bind(10_000 + number) for number in range(6000)]
    binder.answers(kinds)
    assert binder.bind(9000) in ("EACCES", "EPERM")  # before 6.0 it is always EPERM
    events = guard.events()
    logged = sum(event.count for event in events if event.kind == layout.EVENT_BIND)
    untold = guard.totals.binds_untold
    assert untold > 0
    assert logged + untold == len(kinds)
    assert [event.port for event in events if event.kind == layout.EVENT_VIOLATION] == [9000]
    assert guard.totals.events_lost == 0
