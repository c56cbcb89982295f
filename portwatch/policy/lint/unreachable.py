"""Constraints that decide nothing anywhere, or nothing but what the kernel picks."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.policy.lint.finding import Finding, listed, where
from portwatch.policy.lint.reach import EndpointClass, Reach
from portwatch.policy.model import Constraint

UNREACHABLE = "unreachable-constraint"
NOBODY = "matches-nobody"
PICKED_ONLY = "picked-ports-only"


def unreachable(reach: Reach) -> Iterator[Finding]:
    """Yield the constraints that never end a reading, or only for ports that the kernel picks."""
    numbered = reach.reaching(one for one in reach.classes if one.numbered)
    for number, constraint in enumerate(reach.policy.constraints):
        if reach.applies_to_nobody(number):
            yield _nobody(constraint)
        elif not reach.reached >> number & 1:
            yield _never(reach, number)
        elif not numbered >> number & 1 and _names_numbers(constraint):
            yield _picked_only(reach, number)


def _nobody(constraint: Constraint) -> Finding:
    reason = "it applies to nobody: `except` takes back all that `for` means"
    return Finding.of(constraint, NOBODY, reason, "narrow `except`, or remove the constraint")


def _never(reach: Reach, number: int) -> Finding:
    constraint = reach.policy.constraints[number]
    before = _before(reach, number, reach.classes)
    if not before:
        reason = "it decides nothing: its lists are empty, or mean nothing by themselves"
        return Finding.of(constraint, UNREACHABLE, reason, "fill a list, or remove the constraint")
    reason = f"it decides nothing: {before} decided all of it before"
    remedy = "move it up, narrow what stands before it, or remove it"
    return Finding.of(constraint, UNREACHABLE, reason, remedy)


def _picked_only(reach: Reach, number: int) -> Finding:
    constraint = reach.policy.constraints[number]
    before = _before(reach, number, [one for one in reach.classes if one.numbered])
    reason = (
        "it decides no port that is asked for by number, only ports that the kernel picks: "
        f"{before} decided the rest before"
    )
    return Finding.of(
        constraint, PICKED_ONLY, reason, "move it up, or narrow what stands before it"
    )


def _names_numbers(constraint: Constraint) -> bool:
    return constraint.otherwise != "continue" or any(
        item.last > 0 for item in (*constraint.deny.ranges, *constraint.allow.ranges)
    )


def _before(reach: Reach, number: int, classes: list[EndpointClass]) -> str:
    return listed([where(constraint) for constraint in reach.decided_before(number, classes)])
