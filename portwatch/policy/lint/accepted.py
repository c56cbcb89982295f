"""Findings that a constraint says are meant (`accept`), and what it accepts without need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from portwatch.policy.lint.finding import Finding
from portwatch.policy.model import Policy
from portwatch.policy.source.problems import quote

STALE = "accepts-nothing"


def divide(policy: Policy, findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Return the findings that are open, and those that the constraint at their place accepts."""
    accepted = {place_and_id for place_and_id, _ in _acceptances(policy)}
    open_, meant = list[Finding](), list[Finding]()
    for one in findings:
        (meant if (one.place, one.id) in accepted else open_).append(one)
    return open_, meant


def stale(policy: Policy, findings: Iterable[Finding], known: Collection[str]) -> Iterator[Finding]:
    """Yield what is accepted of the `known` ids, and is not among the findings.

    Not of those that depend on the machine: a policy may be for several.
    """
    found = {(one.place, one.id) for one in findings}
    for (place, id), number in _acceptances(policy):
        if id in known and (place, id) not in found:
            reason = f"{quote(id)} in `accept` accepts nothing: there is no such finding here"
            remedy = f"remove {quote(id)}"
            yield Finding.of(policy.constraints[number], STALE, reason, remedy)


def _acceptances(policy: Policy) -> Iterator[tuple[tuple[str, str], int]]:
    """Place and id of each, and the number of its constraint."""
    for number, one in enumerate(policy.constraints):
        for id in one.accept:
            yield (f"{one.file}:{one.line}:{one.column}", id), number
