"""Who was seen to bind what: workloads with their ports, alike ones made one."""

from __future__ import annotations

from collections.abc import Iterable

from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.use import LearnedUse
from portwatch.policy.learn.workload import LearnedWorkload, family_of, workload_of
from portwatch.policy.words.globs import match_name

Port = tuple[str, int]
"""Protocol and number, 0 for those that the kernel picks."""

Uses = dict[Port, LearnedUse]
Table = dict[LearnedWorkload, Uses]


def by_workload(binds: Iterable[SeenBind]) -> tuple[Table, int]:
    """The uses of each workload; and how many binds no selector can name the workload of."""
    seen = list(binds)
    containers = {bind.cgroup: bind.container for bind in seen if bind.container is not None}
    table: Table = {}
    known: dict[object, Uses | None] = {}
    left_out = 0
    for bind in seen:
        who = (bind.cgroup, bind.uid)
        if who not in known:
            container = containers.get(bind.cgroup)  # its engine may have told later of it
            workload = workload_of(bind.cgroup, container, bind.uid, bind.user)
            known[who] = table.setdefault(workload, {}) if workload else None
        uses = known[who]
        if uses is None:
            left_out += 1
            continue
        port = (bind.protocol, bind.port)
        use = uses.get(port)
        if use is None:
            use = uses[port] = LearnedUse()
        use.add(bind)
    return table, left_out


def generalised(table: Table) -> Table:
    """Make a glob of the names of a family: two or more, and none that it means binds otherwise."""
    families: dict[LearnedWorkload, list[LearnedWorkload]] = {}
    for workload in table:
        glob = family_of(workload)
        if glob is not None:
            families.setdefault(workload.called(glob), []).append(workload)
    found = dict(table)
    for family, members in families.items():
        if len(members) < 2 or len({_behaviour(table[member]) for member in members}) > 1:
            continue
        if any(_is_meant(family, other) and other not in members for other in table):
            continue
        sums: Uses = {}
        for member in members:
            del found[member]
            for port, use in table[member].items():
                sums.setdefault(port, LearnedUse()).join(use)
        found[family] = sums
    return found


def _behaviour(uses: Uses) -> frozenset[object]:
    return frozenset((port, frozenset(use.scopes)) for port, use in uses.items())


def _is_meant(family: LearnedWorkload, other: LearnedWorkload) -> bool:
    """Whether the glob means a name of that kind, whatever stands beside it."""
    same_kind = (family.key, family.depth) == (other.key, other.depth)
    return same_kind and match_name(family.name, other.name)
