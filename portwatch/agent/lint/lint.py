"""What a policy that is right may still get wrong on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from portwatch.agent.lint.listeners import (
    LATER,
    LOCK_OUT,
    SSH,
    WILDCARD,
    lock_outs,
    wildcards,
)
from portwatch.agent.lint.machine import Machine
from portwatch.agent.lint.published import PUBLISHED, published_ports
from portwatch.agent.lint.selectors import CLAIMED, NOTHING, idle_selectors
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.local_ports import EPHEMERAL_RANGE, in_local_range
from portwatch.policy.model import Policy


def _local_range(policy: Policy, machine: Machine) -> Iterable[Finding]:
    return in_local_range(policy, machine.ports)


MACHINE_LINTS: dict[tuple[str, ...], Callable[[Policy, Machine], Iterable[Finding]]] = {
    (SSH, LOCK_OUT, LATER): lock_outs,
    (NOTHING, CLAIMED): idle_selectors,
    (EPHEMERAL_RANGE,): _local_range,
    (WILDCARD,): wildcards,
    (PUBLISHED,): published_ports,
}
"""The ids that each finds, and the lint."""

MACHINE_IDS = tuple(id for ids in MACHINE_LINTS for id in ids)


def lint_here(policy: Policy, machine: Machine) -> list[Finding]:
    """Return all findings, by place. PolicyError where the policy does not fit its tables."""
    return sorted(finding for find in MACHINE_LINTS.values() for finding in find(policy, machine))
