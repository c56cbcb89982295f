"""What `check` would find in a learned policy though it was seen to be so: said in the policy.

Two workloads that share a port, or one that has the port of some infrastructure: the constraint
accepts the finding, for a reader to see, and for `check` to hold against what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from portwatch.policy.learn.constraints import Learned, LearnedAcceptance, LearnedConstraint
from portwatch.policy.learn.text import policy_text
from portwatch.policy.learn.use import plain_text
from portwatch.policy.lint.catalog import catalog_overlap
from portwatch.policy.lint.finding import Finding, listed
from portwatch.policy.lint.local_ports import LocalPorts, in_local_range
from portwatch.policy.lint.reach import Reach
from portwatch.policy.lint.shared_ports import shared_ports
from portwatch.policy.model import Acceptable, Policy
from portwatch.policy.source.load import parse_policy

TRUE_OF_WHAT_WAS_SEEN: tuple[Acceptable, ...] = (
    *("shared-ports", "catalog-overlap", "ephemeral-range"),
)
MANY = 3
"""Findings of one kind that a comment tells of; more are counted."""


def accepting(learned: Learned, local: LocalPorts | None = None) -> Learned:
    """A learned policy that says what is true of it. `local`: where the kernel picks ports; None
    where that does not matter."""
    policy = parse_policy([("learned.yaml", policy_text(learned, 1))])
    return learned._replace(constraints=accepting_in(policy, learned.constraints, local))


def accepting_in(
    policy: Policy, learned: Sequence[LearnedConstraint], local: LocalPorts | None = None
) -> tuple[LearnedConstraint, ...]:
    """The same of constraints that stand in a policy among others, which stay as they are."""
    names = {one.name for one in learned}
    tried = replace(
        policy,
        constraints=tuple(
            replace(one, accept=TRUE_OF_WHAT_WAS_SEEN) if one.name in names else one
            for one in policy.constraints
        ),
    )
    reach = Reach(tried)
    found = [*shared_ports(reach), *catalog_overlap(reach)]
    found += in_local_range(tried, local) if local else ()
    by_place: dict[str, list[Finding]] = {}
    for finding in found:
        by_place.setdefault(finding.place, []).append(finding)
    findings = {
        one.name: by_place.get(f"{one.file}:{one.line}:{one.column}", [])
        for one in policy.constraints
    }
    return tuple(one._replace(accepts=_accepted(findings[one.name])) for one in learned)


def _accepted(findings: Sequence[Finding]) -> tuple[LearnedAcceptance, ...]:
    accepted = []
    for id in TRUE_OF_WHAT_WAS_SEEN:
        about = [plain_text(one.about) for one in findings if one.id == id]
        if about:
            accepted.append(LearnedAcceptance(id, listed(about, MANY)))
    return tuple(accepted)
