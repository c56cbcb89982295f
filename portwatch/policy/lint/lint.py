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

IDLE = (UNREACHABLE, PICKED_ONLY, NOBODY, UNUSED, REPEATED)
"""What decides nothing; of `declared` that is two questions."""

IDS = (*(id for ids in LINTS for id in ids), STALE)


def lint(policy: Policy) -> list[Finding]:
    """Return all findings by place, those that are accepted too, and what accepts nothing."""
    found = _found(policy.as_declared(False))
    if policy.uses_declared:
        # Decides nothing: neither for ports that a pod declares nor for the others.
        idle = {_about(one) for one in found if one.id in IDLE}
        theirs = [one for one in _found(policy.as_declared(True)) if _about(one) in idle]
        found = [one for one in found if one.id not in IDLE] + theirs
    wanted = {id for ids in LINTS for id in ids}
    return sorted([*found, *stale(policy, found, wanted)])


def _found(policy: Policy) -> list[Finding]:
    reach = Reach(policy)
    return [finding for find in LINTS.values() for finding in find(reach)]


def _about(finding: Finding) -> tuple[str, str, str]:
    """Where, of which kind, and of an entry which."""
    is_entry = finding.id in (UNUSED, REPEATED)
    return finding.place, finding.id, finding.reason.partition(" in `")[0] if is_entry else ""
