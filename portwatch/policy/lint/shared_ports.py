"""Ports that two workloads may both bind: the second one to start does not come up."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.policy.lint.finding import Finding, listed, where
from portwatch.policy.lint.reach import Reach, Run, bits_of
from portwatch.policy.model import Constraint
from portwatch.policy.selector_relations import alternatives, implies
from portwatch.policy.words.addresses import V4_WILDCARD, V6_WILDCARD
from portwatch.policy.words.port_text import Span, coalesced, range_text

SHARED = "shared-ports"
MANY_PORTS = 10_000
"""A word of so many ports claims none of them: it lets a workload choose."""

MANY_OTHERS = 4
"""How many of those that share are looked for, one more than are named."""


def shared_ports(reach: Reach) -> Iterator[Finding]:
    """Yield, at the later one, constraints that let different workloads have the same ports; where
    one of the two accepts that, at that one.

    On overlapping addresses, the wildcard overlapping all. Whoever runs in a network of its own,
    and constraints of which one means whom the other means, share nothing.
    """
    constraints = reach.policy.constraints
    claiming = sum(1 << at for at, one in enumerate(constraints) if _claims(one))
    exposed = sum(1 << at for at, one in enumerate(constraints) if _has_wildcard(one))
    accepting = sum(1 << at for at, one in enumerate(constraints) if SHARED in one.accept)
    for number in bits_of(claiming):
        bit = 1 << number
        others = claiming & ~bit if accepting & bit else claiming & (bit - 1) & ~accepting
        shared = _shared_with(reach, number, others, exposed)
        if shared:
            yield _finding(constraints, number, shared)


def _shared_with(reach: Reach, number: int, others: int, exposed: int) -> dict[int, list[Span]]:
    """Others, at most MANY_OTHERS, and what each shares with a constraint."""
    constraints = reach.policy.constraints
    shared: dict[int, list[Span]] = {}
    for run in _allowed_runs(reach, constraints[number]):
        for other in bits_of(_partners(reach, number, run, exposed) & others):
            if other not in shared and not _different(constraints[number], constraints[other]):
                others ^= 1 << other
            elif _allowed_somewhere(reach, other, run):
                shared.setdefault(other, []).append((run.protocol, run.first, run.last))
                if len(shared) == MANY_OTHERS:
                    others = sum(1 << one for one in shared)
                    break
    return shared


def _claims(constraint: Constraint) -> bool:
    """Whether its `allow` names ports for somebody in particular, on the host's network."""
    if not constraint.subject_for:
        return False
    if any(item.last - item.first >= MANY_PORTS for item in constraint.allow.ranges):
        return False
    return constraint.network == "host" or not all(
        selector.is_contained for selector in constraint.subject_for
    )


def _has_wildcard(constraint: Constraint) -> bool:
    addresses = constraint.addresses
    wildcards = (V4_WILDCARD, V6_WILDCARD)
    return addresses is None or any(addresses.find(one) is not None for one in wildcards)


def _allowed_runs(reach: Reach, constraint: Constraint) -> Iterator[Run]:
    for item in constraint.allow.ranges:
        yield from reach.runs_in(item, "numbered")


def _partners(reach: Reach, number: int, run: Run, exposed: int) -> int:
    """Those whose lists allow a port of this run where it overlaps what a constraint allows."""
    anywhere = near = 0
    for one in run.classes:
        anywhere |= one.allow
        if one.allow >> number & 1 and reach.reaches(number, one):
            near |= one.allow
    if near and exposed >> number & 1:
        return anywhere
    return near | anywhere & exposed if near else 0


def _allowed_somewhere(reach: Reach, number: int, run: Run) -> bool:
    return any(one.allow >> number & 1 and reach.reaches(number, one) for one in run.classes)


def _different(one: Constraint, other: Constraint) -> bool:
    """Whether some workload of each is none of the other's."""
    return any(
        not implies(mine, theirs) and not implies(theirs, mine)
        for mine in alternatives(one)
        for theirs in alternatives(other)
    )


def _finding(
    constraints: tuple[Constraint, ...], number: int, shared: dict[int, list[Span]]
) -> Finding:
    spans = {span for found in shared.values() for span in found}
    ports = listed([range_text(item) for item in coalesced(spans)])
    names = [where(constraints[other]) for other in sorted(shared)]
    others = ", ".join(names[: MANY_OTHERS - 1]) + (" and more" if names[MANY_OTHERS - 1 :] else "")
    reason = f"it shares {ports} with {others}: whoever starts second fails with EADDRINUSE"
    remedy = f"give each its own ports, or addresses; where it is meant, `accept: [{SHARED}]`"
    whom = listed([constraints[other].name for other in sorted(shared)], MANY_OTHERS - 1)
    return Finding.of(constraints[number], SHARED, reason, remedy, about=f"{ports} with {whom}")
