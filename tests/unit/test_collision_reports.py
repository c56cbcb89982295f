"""When collisions are looked into and told, and that no count is lost or told twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from collision_desk import NETWORK, SHOP, WEB, Desk, listener, record

from portwatch.agent.events.collision_reports import (
    MAX_CASES,
    QUESTIONS_AT_ONCE,
    REPEAT_SECONDS,
    SEARCH_SECONDS,
)
from portwatch.errors import PortwatchError
from portwatch.kernel import layout
from portwatch.kernel.readings import CollisionKey
from portwatch.node.port_holders import PortQuestion

KEY = CollisionKey(WEB, 80, 0)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Ends the child that is left."""
    desk = Desk()
    yield desk
    desk.reports.close()
    desk.selector.close()
    assert all(child.closed for child in desk.children)


def test_a_collision_is_told_with_whose_the_port_is(desk: Desk) -> None:
    """One question about the record's network, protocol and port; one event with the holder."""
    desk.collide()
    desk.tick(0)
    assert desk.children[0].questions == [PortQuestion(NETWORK, "tcp", 80)]
    assert desk.events == []
    desk.answer([listener()])
    (event,) = desk.events
    assert (event["kind"], event["errno"], event["count"]) == ("collision", "EADDRINUSE", 1)
    assert event["workload"] == {"name": "web"}
    assert event["holder"] == {
        "state": "listen",
        "address": "127.0.0.1",
        "workload": {"name": "shop", "cgroup": "/shop"},
        "process": {"pid": 42, "comm": "nginx", "uid": 0, "gid": 0},
        "since": "2026-01-02T03:04:05.000000Z",
    }


def test_what_does_not_conflict_is_not_named(desk: Desk) -> None:
    """Of all that have the port the first in whose way the bind is; where none is, nobody."""
    desk.collide()
    desk.collide(81)
    desk.tick(0)
    other = listener(address="127.0.0.2")
    desk.answer([other, listener(address="0.0.0.0"), listener()], [other])
    assert [event.get("holder", {}).get("address") for event in desk.events] == ["0.0.0.0", None]


def test_multipath_tcp_is_asked_for_as_tcp(desk: Desk) -> None:
    """sock_diag lists the one as the other."""
    desk.collide(label=layout.PROTOCOL_NAMES.index("mptcp"))
    desk.tick(0)
    assert desk.children[0].questions == [PortQuestion(NETWORK, "tcp", 80)]


def test_a_crash_loop_is_told_at_most_every_ten_seconds(desk: Desk) -> None:
    """A record a second for a minute: an event now, then one each REPEAT_SECONDS, and their
    counts with what is told at the end are the kernel's."""
    for second in range(60):
        desk.now = 1000.0 + second
        desk.collide(times=5)
        desk.tick(second)
        if desk.children and not desk.children[-1].read():
            desk.answer([listener()])
    assert len(desk.events) == 60 / REPEAT_SECONDS
    desk.reports.close()
    assert desk.told == desk.counts[KEY] == 300
    desk.reports.close()
    assert desk.told == 300


def test_what_came_after_the_last_record_is_told(desk: Desk) -> None:
    """The kernel suppresses records within a second: their count is told when it is due, with the
    holder looked for again; after that the case is closed."""
    desk.collide()
    desk.tick(0)
    desk.answer([listener()])
    desk.counts[KEY] += 22
    desk.tick(REPEAT_SECONDS - 1)
    assert len(desk.children) == 1
    desk.tick(REPEAT_SECONDS + 1)
    desk.answer([listener()])
    assert [event["count"] for event in desk.events] == [1, 22]
    for after in range(12, 60):
        desk.tick(after)
    assert len(desk.children) == 2


def test_searches_are_one_a_second_and_bounded(desk: Desk) -> None:
    """One child at a time, a second after the last began, with so many questions at most; the
    longest waiting come first, so that all are told in turn."""
    ports = range(1, 10 * QUESTIONS_AT_ONCE + 41)
    second = 0
    while len(desk.events) < len(ports):
        desk.now = 1000.0 + second
        for port in ports:
            desk.collide(port)
        for fraction in (0.0, 0.3, 0.6):
            desk.tick(second + fraction)
        assert len(desk.children) <= second / SEARCH_SECONDS + 1
        desk.answer()
        second += 1
    assert all(len(child.questions) <= QUESTIONS_AT_ONCE for child in desk.children)
    told = [event["bind"]["port"] for event in desk.events]
    assert sorted(told[: len(ports)]) == list(ports)


def test_a_search_that_runs_is_waited_for(desk: Desk) -> None:
    """However long it takes, no second one is begun, and what happens meanwhile is counted."""
    desk.collide()
    for after in range(30):
        desk.tick(after)
        desk.collide()
    assert len(desk.children) == 1
    desk.answer([listener()])
    assert [event["count"] for event in desk.events] == [31]


def test_a_record_of_another_network_does_not_get_the_holder(desk: Desk) -> None:
    """A workload may be in several: the event is about the bind that was asked about, though
    another has failed since."""
    desk.collide()
    desk.tick(0)
    desk.collide(netns_inode=5)
    desk.answer([listener()])
    (event,) = desk.events
    assert (event["bind"]["network"], event["count"]) == (f"net:[{NETWORK}]", 2)


@pytest.mark.parametrize("at_once", [True, False], ids=["no child", "child that fails"])
def test_a_failed_search_tells_without_a_holder(
    at_once: bool, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The collision is told all the same; the log says so once."""
    error = PortwatchError("no memory for a child")
    desk.refused = error if at_once else None
    for port in (80, 81):
        desk.collide(port)
        desk.tick(port)
        if not at_once:
            desk.answer(error)
    assert [event["count"] for event in desk.events] == [1, 1]
    assert all("holder" not in event for event in desk.events)
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == ["collisions are told without their holders: no memory for a child"]


def test_too_many_cases_lose_no_count(desk: Desk) -> None:
    """Past MAX_CASES the oldest is told at once, without its holder; what it fails after that,
    within the second in which the kernel tells nothing, is told at the end."""
    for port in range(1, MAX_CASES + 24):
        desk.collide(port, times=2)
    assert [event["bind"]["port"] for event in desk.events] == list(range(1, 24))
    desk.counts[CollisionKey(WEB, 1, 0)] += 5
    desk.reports.close()
    assert desk.told == sum(desk.counts.values()) == 2 * (MAX_CASES + 23) + 5
    (last,) = [event for event in desk.events if event["count"] == 5]
    assert last == {
        "kind": "collision",
        "errno": "EADDRINUSE",
        "bind": {"protocol": "tcp", "port": 1},
        "workload": {"name": "web"},
        "count": 5,
    }


def test_what_the_map_has_no_room_for_is_told_too(desk: Desk) -> None:
    """The count of all the rest, by the last bind of which there is a record."""
    desk.counts[CollisionKey(0, 0, 0)] = 3
    desk.reports.take(record(90, workload=SHOP))
    desk.tick(0)
    desk.answer()
    (event,) = desk.events
    assert (event["bind"]["port"], event["workload"]["name"], event["count"]) == (90, "shop", 3)


def test_an_agent_that_starts_tells_nothing_old() -> None:
    """What was counted before is told by nobody, not by the records that are still there either,
    and not at the end."""
    desk = Desk({KEY: 41})
    desk.reports.take(record())
    desk.tick(0)
    desk.answer([listener()])
    assert desk.events == []
    desk.collide()
    desk.reports.close()
    assert [event["count"] for event in desk.events] == [1]


def test_the_end_does_not_wait_for_a_search(desk: Desk) -> None:
    """The child is ended; its collisions are told without their holders."""
    desk.collide()
    desk.tick(0)
    desk.reports.close()
    assert desk.children[0].closed
    assert [event.get("holder", "none") for event in desk.events] == ["none"]
    desk.reports.close()
    assert len(desk.events) == 1
