"""The kernel's counts as rows: violations, collisions, and what was let through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from portwatch.agent.board.cgroup_paths import CgroupPaths
from portwatch.agent.board.judge import Judge, address_of
from portwatch.agent.board.row import Kind, Row
from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.containers import ContainerBook
from portwatch.kernel import layout
from portwatch.kernel.names import Names
from portwatch.kernel.readings import ObservedBind, Readings
from portwatch.policy.words.scopes import scope_of

ENDED = "(ended)"
"""The workload of binds whose cgroup went before it was ever looked at."""

Place = tuple[str, str, int]
"""Workload, protocol, port."""


@dataclass
class _Seen:
    """What the kernel remembers of one place, its binds apart by what the policy says of them."""

    against: list[ObservedBind] = field(default_factory=list)
    within: list[ObservedBind] = field(default_factory=list)


def count_rows(
    readings: Readings, names: Names, judge: Judge | None, paths: CgroupPaths, wall_offset_ns: int
) -> list[Row]:
    """Every count as a row, rates left out; `wall_offset_ns`: from boot time to wall-clock time.

    A count of violations is exact. What a place was seen to bind beyond its violations was let
    through; the kernel's memory of it forgets what is least recent, the violations never.
    """
    observed = readings.observed()  # before the violations, which then hold all that is among them
    known = paths.find({one.cgroup for one in observed})
    violations = list(readings.violations())
    violated = Counter[Place]()
    for one in violations:
        violated[names.text(one.workload), one.protocol, one.port] += one.count
    seen = _by_place(observed, known, judge, violated)
    rows = _Rows(known, wall_offset_ns)
    found = []
    for one in violations:
        place = (names.text(one.workload), one.protocol, one.port)
        constraint = names.text(one.constraint)
        row = rows.make("violation", one.verdict, place, one.count, seen[place].against)
        reason = judge.reason(constraint) if judge else ""
        last_seen = max(rows.seconds(one.last_event_ns) or 0, row.last_seen or 0) or None
        found.append(replace(row, constraint=constraint, reason=reason, last_seen=last_seen))
    for key, count in readings.collisions().items():
        place = (names.text(key.workload), layout.PROTOCOL_NAMES[key.protocol], key.port)
        binds = [*seen[place].against, *seen[place].within]
        row = rows.make("collision", "", place, count, binds)
        found.append(replace(row, reason="the port was taken (EADDRINUSE)"))
    for place, of_it in seen.items():
        before = sum(bind.count for bind in of_it.against) - violated[place]
        if before > 0:  # there was no policy against them
            found.append(rows.make("bind", "allowed", place, before, of_it.against))
        by_scope: dict[str, list[ObservedBind]] = defaultdict(list)
        for bind in of_it.within:
            by_scope[scope_of(address_of(bind))].append(bind)
        for binds in by_scope.values():
            count = sum(bind.count for bind in binds)
            found.append(rows.make("bind", "allowed", place, count, binds))
    return found


def _by_place(
    observed: Iterable[ObservedBind],
    paths: Mapping[int, str],
    judge: Judge | None,
    violated: Container[Place],
) -> dict[Place, _Seen]:
    """Only where there were violations is the policy asked which binds those were."""
    found: dict[Place, _Seen] = defaultdict(_Seen)
    for bind in observed:
        path = paths.get(bind.cgroup)
        if path is None:
            found[ENDED, bind.protocol, bind.port].within.append(bind)
        elif judge is None:
            name = shown_name(path, ContainerBook())
            found[name, bind.protocol, bind.port].within.append(bind)
        else:
            place = (judge.workload(bind, path), bind.protocol, bind.port)
            is_against = place in violated and judge.is_violation(bind, path)
            (found[place].against if is_against else found[place].within).append(bind)
    return found


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
        latest = max(binds, key=lambda bind: bind.last_ns)
        scopes = sorted({scope_of(address_of(bind)) for bind in binds})
        return replace(
            row,
            scope=",".join(scopes),
            address=str(address_of(latest)),
            last_seen=self.seconds(latest.last_ns),
            cgroup=self._paths.get(latest.cgroup, ""),
            pid=latest.pid,
            uid=latest.uid,
            first_ns=latest.first_ns,
        )
