"""Ports that two workloads have at once, found among all that listen: also what came to be shared
before portwatch was there, or while nobody told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portwatch.agent.events.collision import holder_parts, overlap, reach_of
from portwatch.agent.events.format import Event
from portwatch.agent.events.listener import listener_facts
from portwatch.agent.events.workload import workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.survey.survey import Surveyed


def find_sharing(surveyed: Iterable[Surveyed], book: ContainerBook) -> Iterator[Event]:
    """For each two workloads and port one `collision` event, of the socket that is newer."""
    by_port: dict[tuple[int, str, int], list[Surveyed]] = {}
    for one in surveyed:
        listener = one.listener
        by_port.setdefault((listener.network, listener.protocol, listener.port), []).append(one)
    for sockets in by_port.values():
        if len({one.workload for one in sockets}) > 1:
            yield from _pairs(sockets, book)


def _pairs(sockets: list[Surveyed], book: ContainerBook) -> Iterator[Event]:
    told = set()
    sockets.sort(key=_since)
    for number, newer in enumerate(sockets):
        for older in sockets[:number]:
            names = frozenset((newer.workload, older.workload))
            if len(names) == 1 or names in told:
                continue
            if overlap(reach_of(newer.listener), reach_of(older.listener)):
                told.add(names)
                yield _event(newer, older, book)


def _since(one: Surveyed) -> tuple[str, int]:
    holder = one.listener.holder
    return holder.since if holder else "", one.listener.cookie


def _event(newer: Surveyed, older: Surveyed, book: ContainerBook) -> Event:
    parts = workload_parts(older.cgroup, book)
    return {
        "kind": "collision",
        "shared": True,
        **listener_facts(newer, book),
        "holder": holder_parts(older.listener, older.workload, parts),
        "count": 1,
    }
