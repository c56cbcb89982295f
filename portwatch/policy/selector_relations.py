"""How two selectors stand to one another, for every subject that there could be.

What is told is certain; what is not told may still be so: accounts, and keys of different kinds
(a unit and a cgroup), are taken to have nothing to do with each other.
"""

from __future__ import annotations

from portwatch.policy.model import Constraint
from portwatch.policy.words.containers import is_id_prefix
from portwatch.policy.words.glob_relations import (
    name_includes,
    names_disjoint,
    path_includes,
    paths_disjoint,
)
from portwatch.policy.words.labels import labels_disjoint, labels_include
from portwatch.policy.workload import POD_KEYS, WITNESSES, Selector

_OF_ONE_VALUE = ("unit", *POD_KEYS, "cgroup", "user", "group")

EVERYONE = Selector()
"""No key that could fail to match."""


def implies(narrow: Selector, wide: Selector) -> bool:
    """Return whether whoever `narrow` means is certainly meant by `wide`."""
    return all(_key_implies(narrow, wide, key) for key in wide.given_keys)


def excludes(one: Selector, other: Selector) -> bool:
    """Return whether certainly nobody is meant by both."""
    return any(_key_excludes(one, other, key) for key in _OF_ONE_VALUE)


def alternatives(constraint: Constraint) -> tuple[Selector, ...]:
    """Return the selectors of `for`, less those that `except` takes back whole."""
    wanted = (EVERYONE,) if constraint.subject_for is None else constraint.subject_for
    return tuple(
        selector
        for selector in wanted
        if not any(implies(selector, excepted) for excepted in constraint.subject_except)
    )


def covers(outer: Constraint, inner: Constraint, selector: Selector) -> bool:
    """Return whether `outer` certainly applies to all whom `inner` means by this selector."""
    if outer.network == "host" and inner.network != "host":
        return False
    if outer.subject_for is not None and not any(
        implies(selector, wide) for wide in outer.subject_for
    ):
        return False
    return all(
        excludes(selector, gap) or any(implies(gap, own) for own in inner.subject_except)
        for gap in outer.subject_except
    )


def _key_implies(narrow: Selector, wide: Selector, key: str) -> bool:
    patterns = getattr(narrow, key)
    if not patterns:
        return False
    if key in WITNESSES and narrow.counts_claims(key) and not wide.counts_claims(key):
        return False
    return all(
        any(_includes(key, outer, inner) for outer in getattr(wide, key)) for inner in patterns
    )


def _includes(key: str, outer: str | int, inner: str | int) -> bool:
    if isinstance(outer, int) or isinstance(inner, int):
        return outer == inner
    if key == "cgroup":
        return path_includes(outer, inner)
    if key == "pod_labels":
        return labels_include(outer, inner)
    if key == "container" and is_id_prefix(inner):  # it means an id as well, which no glob does
        return outer == inner
    return name_includes(outer, inner)


def _key_excludes(one: Selector, other: Selector, key: str) -> bool:
    """By a key of which a subject has one value at most."""
    left, right = getattr(one, key), getattr(other, key)
    if not left or not right:
        return False
    if key in WITNESSES and (one.counts_claims(key) or other.counts_claims(key)):
        return False
    return all(_disjoint(key, mine, theirs) for mine in left for theirs in right)


def _disjoint(key: str, one: str | int, other: str | int) -> bool:
    if isinstance(one, int) or isinstance(other, int):
        return isinstance(one, int) and isinstance(other, int) and one != other
    if key in ("user", "group"):  # an id may have several names
        return False
    if key == "pod_labels":
        return labels_disjoint(one, other)
    return paths_disjoint(one, other) if key == "cgroup" else names_disjoint(one, other)
