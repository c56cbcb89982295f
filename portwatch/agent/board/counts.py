"""The kernel's counts as rows: violations, collisions, and what was let through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter

from portwatch.agent.board.cgroup_paths import CgroupPaths
from portwatch.agent.board.judge import Judge, address_of
from portwatch.agent.board.row import Kind, Row
from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.containers import ContainerBook
from portwatch.kernel import layout
from portwatch.kernel.names import Names
from portwatch.kernel.readings import ObservedBind, Readings
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.scopes import scope_of

ENDED = "(ended)"
"""The workload of binds whose cgroup went before it was ever looked at."""

Place = tuple[str, str, int]
"""Workload, protocol, port."""


class _Seen:
    """What the kernel remembers, sorted by what became of it."""

    def __init__(self) -> None:
        self.violating: dict[Place, list[ObservedBind]] = defaultdict(list)
        self.counted: dict[Place, list[ObservedBind]] = defaultdict(list)
        self.against: dict[tuple[Place, str], list[ObservedBind]] = defaultdict(list)
        self.within: dict[Place, dict[Place, list[ObservedBind]]] = defaultdict(dict)


def count_rows(
    readings: Readings, names: Names, judge: Judge | None, paths: CgroupPaths, wall_offset_ns: int
) -> list[Row]:
    """Every count as a row, rates left out; `wall_offset_ns`: from boot time to wall-clock time.

    Counts of violations and collisions are exact. What else was bound is the kernel's memory of it,
    less the violations; that forgets what is least recent.
    """
    observed = readings.observed()  # before the violations, which then hold all that is among them
    known = paths.find({one.cgroup for one in observed})
    violations = list(readings.violations())
    violated = Counter[Place]()
    for one in violations:
        violated[names.text(one.workload), one.protocol, one.port] += one.count
    seen = _sort_out(observed, known, judge, violated)
    rows = _Rows(known, wall_offset_ns)
    found = []
    for one in violations:
        place = (names.text(one.workload), one.protocol, one.port)
        constraint = names.text(one.constraint)
        row = rows.make("violation", one.verdict, place, one.count, seen.violating[place])
        row.constraint, row.reason = constraint, judge.reason(constraint) if judge else ""
        row.last_seen = max(rows.seconds(one.last_event_ns) or 0, row.last_seen or 0) or None
        found.append(row)
    for key, count in readings.collisions().items():
        place = (names.text(key.workload), layout.PROTOCOL_NAMES[key.protocol], key.port)
        row = rows.make("collision", "", place, count, seen.counted[place])
        row.reason = "the port was taken (EADDRINUSE)"
        found.append(row)
    for (place, constraint), binds in seen.against.items():
        row = rows.make("bind", "against", place, _sum(binds), binds)
        row.constraint, row.reason = constraint, judge.reason(constraint) if judge else ""
        found.append(row)
    for counted_as, places in seen.within.items():
        # Under an earlier policy, violations may have been among them.
        not_these = max(violated[counted_as] - _sum(seen.violating[counted_as]), 0)
        for place, binds in places.items():
            for alike in _by_scope(binds):
                count = _sum(alike)
                left = max(count - not_these, 0)
                not_these -= count - left
                if left:
                    found.append(rows.make("bind", "allowed", place, left, alike))
    return found


def _sort_out(
    observed: Iterable[ObservedBind],
    paths: Mapping[int, str],
    judge: Judge | None,
    violated: Container[Place],
) -> _Seen:
    seen = _Seen()
    for bind in observed:
        path = paths.get(bind.cgroup)
        judged = judge.judge(bind, path) if judge and path else None
        constraint = judged.constraint if judged else ""
        if judged:
            place = (judged.shown_as, bind.protocol, bind.port)
            counted = (judged.counted_as, bind.protocol, bind.port)
        else:
            name = shown_name(path, ContainerBook()) if path else ENDED
            place = counted = (name, bind.protocol, bind.port)
        seen.counted[counted].append(bind)
        if constraint and counted in violated:
            seen.violating[counted].append(bind)
        elif constraint:
            seen.against[place, constraint].append(bind)
        else:
            seen.within[counted].setdefault(place, []).append(bind)
    return seen


def _by_scope(binds: list[ObservedBind]) -> Iterable[list[ObservedBind]]:
    if len(binds) == 1:
        return [binds]
    found: dict[str, list[ObservedBind]] = defaultdict(list)
    for bind in binds:
        found[bound_scope(bind)].append(bind)
    return found.values()


def _sum(binds: Iterable[ObservedBind]) -> int:
    return sum(bind.count for bind in binds)


class _Rows:
    """Makes rows; `paths` of cgroups by id, `offset_ns` from boot time to wall-clock time."""

    def __init__(self, paths: Mapping[int, str], offset_ns: int) -> None:
        self._paths = paths
        self._offset_ns = offset_ns

    def seconds(self, boot_ns: int) -> float | None:
        """Since the epoch; None for no time."""
        return (boot_ns + self._offset_ns) / 1e9 if boot_ns else None

    def make(
        self, kind: Kind, verdict: str, place: Place, count: int, binds: Sequence[ObservedBind]
    ) -> Row:
        """Of a place; the latest of its binds tells whose they are."""
        row = Row(kind, verdict, *place, count)
        if not binds:
            return row
        latest = max(binds, key=last_ns_of)
        row.scope = ",".join(sorted({bound_scope(bind) for bind in binds}))
        row.address = address_text(latest.address, latest.dual)
        row.last_seen = self.seconds(latest.last_ns)
        row.cgroup = self._paths.get(latest.cgroup, "")
        row.pid, row.uid, row.first_ns = latest.pid, latest.uid, latest.first_ns
        return row


last_ns_of = attrgetter("last_ns")


def bound_scope(bind: ObservedBind) -> str:
    """The language's word for the address."""
    return _scope(bind.address, bind.dual)


@lru_cache(4096)
def _scope(packed: bytes, dual: bool) -> str:
    return scope_of(address_of(packed, dual))


@lru_cache(4096)
def address_text(packed: bytes, dual: bool) -> str:
    """As commands take it: `::` is the dual-stack wildcard."""
    text = str(Address.from_packed(packed))
    return f"{text}/v6only" if text == "::" and not dual else text
