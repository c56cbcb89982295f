"""Two for one port: who wanted it, who has it, told once and then at most every ten seconds.

The kernel's record says who failed with EADDRINUSE, or who bound a port that the kernel might
let two share; whose it is already, a child finds out (node/port_holders.py). What the kernel
counted is told in full, in the count of some event.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from portwatch.agent.errand_run import ErrandRun
from portwatch.agent.events.collision import (
    KnowsWorkloads,
    collision_event,
    conflicting,
    left_event,
    sharing_event,
)
from portwatch.agent.events.format import Event
from portwatch.kernel import layout
from portwatch.kernel.readings import CollisionKey
from portwatch.node.errand import Errand
from portwatch.node.listeners import Listener
from portwatch.node.port_holders import PortQuestion, begin_find_holders
from portwatch.policy.words.ports import judged_as

log = logging.getLogger(__name__)

REPEAT_SECONDS = 10.0
SHARING_SECONDS = 150.0
"""What was told to be shared is no news for two surveys and a half; each renews it."""

SEARCH_SECONDS = 1.0
"""Between two searches, each of which costs a tenth of a second of one CPU."""

MAX_CASES = 1024
QUESTIONS_AT_ONCE = 16

Begin = Callable[[Sequence[PortQuestion]], Errand[list[list[Listener]]]]


class CountsCollisions(Protocol):
    """Where the kernel's counts are read: kernel.readings.Readings, or a test's."""

    def collision_count(self, key: CollisionKey) -> int:
        """How often binds of `key` have failed."""

    def collisions(self) -> dict[CollisionKey, int]:
        """All of them."""


class DescribesBinds(Protocol):
    """Who bound what: agent.event_format.EventFormat, or a test's."""

    def facts(self, raw: layout.Event) -> Event:
        """What every event about a bind says, of one record."""


@dataclass(frozen=True)
class _Wanted:
    """One record, and what was found out about it while its process might still be there."""

    raw: layout.Event
    facts: Event


@dataclass
class _Case:
    """One workload that wants one port, or shares it; by its last record."""

    wanted: _Wanted
    key: CollisionKey | None  # None: it has the port, and may share it
    due: float
    waiting: bool = True


class CollisionReports:
    """Call `take()` with the kernel's records, `tick()` now and then."""

    def __init__(
        self,
        readings: CountsCollisions,
        publisher: KnowsWorkloads,
        event_format: DescribesBinds,
        selector: selectors.BaseSelector,
        tell: Callable[[Event], None],
        begin: Begin = begin_find_holders,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readings = readings
        self._publisher = publisher
        self._format = event_format
        self._tell = tell
        self._begin = begin
        self._clock = clock
        self._cases: OrderedDict[object, _Case] = OrderedDict()
        self._told = dict(readings.collisions())
        self._search = ErrandRun(selector, self._conclude_all, self._search_failed)
        self._searched: list[tuple[_Case, _Wanted]] = []
        self._next_search = 0.0
        self._sharing: dict[object, float] = {}  # who was told to share what, until when
        self._warned = False

    def take(self, raw: layout.Event) -> None:
        """A record of kind EVENT_COLLISION or EVENT_SHARED."""
        shared = raw.kind == layout.EVENT_SHARED
        key = None if shared else self._counted_under(raw)
        name = key or (raw.cgroup, raw.port, raw.label, raw.netns_inode)
        wanted = _Wanted(raw, self._format.facts(raw))
        known = self._cases.get(name)
        if known is not None:
            known.wanted = wanted
            known.waiting = True
            return
        if len(self._cases) >= MAX_CASES:
            _, oldest = self._cases.popitem(last=False)
            self._conclude(oldest, oldest.wanted, [])
        self._cases[name] = _Case(wanted, key, due=self._clock())

    def tick(self, now: float) -> None:
        """Start a search for what is due; `now` is monotonic, in seconds."""
        self._search.tick()
        if self._search.is_running or not self._cases or now < self._next_search:
            return
        due = [case for case in self._cases.values() if now >= case.due]
        for case in due:
            if case.key and self._untold(case.key):
                case.waiting = True  # those that the kernel did not tell of one by one
        self._forget([case for case in due if not case.waiting])
        waiting = sorted((case for case in due if case.waiting), key=lambda case: case.due)
        self._begin_search(waiting[:QUESTIONS_AT_ONCE], now)

    def surveyed(self, sharing: Sequence[Event]) -> None:
        """The ports that two workloads have now; what was told lately is not told again."""
        for event in sharing:
            if self._is_news(event):
                self._tell(event)

    def close(self) -> None:
        """End the search; tell the counts that are left, without their holders."""
        self._search.close()
        for case in self._cases.values():
            if case.key and self._untold(case.key):
                self._conclude(case, case.wanted, [])
        self._cases.clear()
        for key in self._readings.collisions():  # of cases that were dropped, of records lost
            count = self._untold(key)
            if count:
                self._told[key] = self._told.get(key, 0) + count
                self._tell(left_event(key, count, self._publisher))

    def _begin_search(self, cases: list[_Case], now: float) -> None:
        if not cases:
            return
        self._next_search = now + SEARCH_SECONDS
        self._searched = [(case, case.wanted) for case in cases]
        self._search.start(
            lambda: self._begin([_question(case.wanted.raw) for case in cases]),
        )

    def _search_failed(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("collisions are told without their holders: %s", reason)
        self._conclude_all([[] for _ in self._searched])

    def _conclude_all(self, found: list[list[Listener]]) -> None:
        for (case, wanted), holders in zip(self._searched, found, strict=True):
            self._conclude(case, wanted, holders)
        self._searched = []

    def _conclude(self, case: _Case, wanted: _Wanted, holders: list[Listener]) -> None:
        """By the record that was asked about: a later one may be of another network."""
        case.waiting = case.key is None and case.wanted is not wanted  # its count tells the other
        case.due = self._clock() + REPEAT_SECONDS
        if case.key is None:
            event = sharing_event(wanted.facts, wanted.raw, holders, self._publisher)
            if event is not None and not self._is_news(event):
                return
        else:
            count = self._untold(case.key)
            self._told[case.key] = self._told.get(case.key, 0) + count
            holder = next(iter(conflicting(wanted.raw, holders)), None)
            event = collision_event(wanted.facts, holder, count, self._publisher) if count else None
        if event is not None:
            self._tell(event)

    def _is_news(self, event: Event) -> bool:
        """Both that share a port may have just bound it, and been found with the other; and a
        survey finds it again and again."""
        holder = event["holder"]
        has_it = holder["workload"].get("name", "") if "workload" in holder else holder["source"]
        names = frozenset((event["workload"].get("name", ""), has_it))
        bind = event["bind"]
        pair = (names, bind["protocol"], bind["port"], bind["network"])
        now = self._clock()
        self._sharing = {one: until for one, until in self._sharing.items() if until > now}
        news = pair not in self._sharing
        self._sharing[pair] = now + SHARING_SECONDS
        return news

    def _counted_under(self, raw: layout.Event) -> CollisionKey:
        """Where the map has no room for it, that is the entry for all the rest."""
        key = CollisionKey(raw.workload, raw.port, raw.label)
        return key if self._readings.collision_count(key) else CollisionKey(0, 0, raw.label)

    def _untold(self, key: CollisionKey) -> int:
        return self._readings.collision_count(key) - self._told.get(key, 0)

    def _forget(self, cases: list[_Case]) -> None:
        gone = {id(case) for case in cases}
        for name in [name for name, case in self._cases.items() if id(case) in gone]:
            del self._cases[name]


def _question(raw: layout.Event) -> PortQuestion:
    protocol = layout.PROTOCOL_NAMES[raw.label]
    return PortQuestion(raw.netns_inode, judged_as(protocol), raw.port)
