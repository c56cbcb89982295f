"""What a policy that is right may still get wrong: found from its tables, no machine looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from portwatch.policy.lint.accepted import STALE, stale
from portwatch.policy.lint.catalog import OVERLAP, catalog_overlap
from portwatch.policy.lint.entries import REPEATED, UNUSED, unused_entries
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.picks import TCP_ONLY, picks
from portwatch.policy.lint.reach import Reach
from portwatch.policy.lint.shared_ports import SHARED, shared_ports
from portwatch.policy.lint.unreachable import NOBODY, PICKED_ONLY, UNREACHABLE, unreachable
from portwatch.policy.model import Policy

LINTS: dict[tuple[str, ...], Callable[[Reach], Iterable[Finding]]] = {
    (UNREACHABLE, PICKED_ONLY, NOBODY): unreachable,
    (UNUSED, REPEATED): unused_entries,
    (SHARED,): shared_ports,
    (OVERLAP,): catalog_overlap,
    (TCP_ONLY,): picks,
}
"""The ids that each finds, and the lint."""

IDS = (*(id for ids in LINTS for id in ids), STALE)


def lint(policy: Policy) -> list[Finding]:
    """Return all findings by place, those that are accepted too, and what accepts nothing."""
    reach = Reach(policy)
    found = [finding for find in LINTS.values() for finding in find(reach)]
    wanted = {id for ids in LINTS for id in ids}
    return sorted([*found, *stale(policy, found, wanted)])
