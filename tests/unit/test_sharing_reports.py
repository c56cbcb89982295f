"""Ports that two workloads share: told once, and only where two do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from collision_desk import SHOP, WEB, Desk, listener, record

from portwatch.agent.events.collision_reports import REPEAT_SECONDS, SHARING_SECONDS
from portwatch.kernel import layout
from portwatch.node.listeners import Listener
from portwatch.node.socket_holders import Holder


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Ends the child that is left."""
    desk = Desk()
    yield desk
    desk.reports.close()
    desk.selector.close()
    assert all(child.closed for child in desk.children)


def share(desk: Desk, who: int = WEB, *found: str) -> None:
    """A workload binds a port that it may share; `found`: those that have it then."""
    desk.reports.take(shares(who))
    desk.tick(desk.now - 999)
    desk.answer(having(*found))


def shares(who: int) -> layout.Event:
    """The kernel's record of it, which names no workload."""
    return record(kind=layout.EVENT_SHARED, workload=0, cgroup=who)


def having(*found: str) -> list[Listener]:
    """Those that have the port, each with the day since which its process runs."""
    holders = [
        Holder(1, "x", None, None, 0, 0, f"/{name}", f"2026-01-0{day or 9}T03:04:05.000000Z")
        for name, _, day in (one.partition(" ") for one in found)
    ]
    return [listener(state="bound", holder=holder) for holder in holders]


def test_two_workloads_that_share_are_told(desk: Desk) -> None:
    """An event with the oldest other, and no errno; what both sides have a record of is told
    once, and again only after a while."""
    share(desk, WEB, "late 4", "shop 2", "web 1", "early 3")
    share(desk, SHOP, "web 1", "shop 2")
    (event,) = desk.events
    assert (event["kind"], event["shared"], event["count"]) == ("collision", True, 1)
    assert "errno" not in event
    assert event["workload"] == {"name": "web"}
    assert event["holder"]["workload"] == {"name": "shop", "cgroup": "/shop"}
    desk.tick(SHARING_SECONDS + 11)
    share(desk, SHOP, "web 1", "shop 2")
    assert [event["workload"]["name"] for event in desk.events] == ["web", "shop"]


@pytest.mark.parametrize("found", [["web", "web"], ["web"], ["shop"], ["web", ""], []])
def test_one_workload_alone_does_not_share(found: list[str], desk: Desk) -> None:
    """The same workload twice, a socket of nobody knows whom, a bind that came to nothing: no
    event."""
    share(desk, WEB, *found)
    assert desk.events == []


def test_who_comes_during_a_search_is_looked_for_too(desk: Desk) -> None:
    """The first finds itself alone; the other, and a third bind of the first, have searches of
    their own."""
    desk.reports.take(shares(WEB))
    desk.tick(0)
    desk.reports.take(shares(SHOP))
    desk.reports.take(shares(WEB))
    desk.answer(having("web 1"))
    assert desk.events == []
    desk.tick(1)
    assert len(desk.children[-1].questions) == 1
    desk.answer(having("web 1", "shop 2"))
    assert [event["workload"]["name"] for event in desk.events] == ["shop"]
    desk.tick(REPEAT_SECONDS + 1)
    assert len(desk.children) == 3


def test_what_surveys_find_is_told_once_while_it_lasts(desk: Desk) -> None:
    """Survey after survey the same pair is no news; gone for a while and back, it is."""
    bind = {"protocol": "tcp", "port": 9000, "network": "host"}
    event = {"bind": bind, "workload": {"name": "a"}, "holder": {"workload": {"name": "b"}}}
    turned = {"bind": bind, "workload": {"name": "b"}, "holder": {"workload": {"name": "a"}}}
    for now in (0, 60, 120, 180, 240):
        desk.tick(now)
        desk.reports.surveyed([event, turned])
    assert desk.events == [event]
    desk.tick(240 + SHARING_SECONDS + 1)
    desk.reports.surveyed([turned])
    assert desk.events == [event, turned]
