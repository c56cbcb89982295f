"""Ports of lists that are taken here with no socket: NAT gives them to somebody else."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.agent.lint.machine import Machine
from portwatch.node.published_ports import PublishedPort
from portwatch.policy.lint.finding import Finding, listed
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.words.addresses import networks_of
from portwatch.policy.words.ports import EndpointSet

PUBLISHED = "published-port"
MANY_PORTS = 10_000
"""A word of so many ports is about no port in particular."""


def published_ports(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Yield constraints that give somebody a port which is published on the host's network, so
    that its owner gets nothing there; or that keep such a port from others, which a rule goes
    round."""
    published = [one for one in machine.published if one.is_host_network]
    for constraint in policy.constraints if published else ():
        if not _is_reachable(constraint):
            continue
        allowed = _of(constraint.allow, published) if _is_on_host(constraint) else []
        refused = _of(constraint.deny, published)
        if allowed:
            yield _finding(
                constraint,
                allowed,
                "it allows {}, which is published here: a bind there succeeds, and nothing from "
                "outside reaches it",
                "publish another port of the host, or have the workload bind another",
            )
        if refused:
            yield _finding(
                constraint,
                refused,
                "it refuses {}, which is published here all the same: no bind() is needed for that",
                "stop publishing it, if whoever gets its traffic is not meant to",
            )


def _is_reachable(constraint: Constraint) -> bool:
    """Whether its addresses are others than loopback's, which no published port takes."""
    addresses = constraint.addresses
    return addresses is None or not addresses.networks <= frozenset(networks_of("loopback"))


def _is_on_host(constraint: Constraint) -> bool:
    """Whether it is for somebody in particular, who may be on the host's network."""
    return bool(constraint.subject_for) and (
        constraint.network == "host"
        or not all(selector.is_contained for selector in constraint.subject_for or ())
    )


def _of(listing: EndpointSet, published: list[PublishedPort]) -> list[PublishedPort]:
    """Those published ports that a word of the list means."""
    ranges = [item for item in listing.ranges if item.last - item.first < MANY_PORTS]
    return [
        one
        for one in published
        if any(
            item.protocol in (None, one.rule.protocol)
            and item.first <= one.rule.last
            and one.rule.first <= item.last
            for item in ranges
        )
    ]


def _finding(
    constraint: Constraint, found: list[PublishedPort], reason: str, remedy: str
) -> Finding:
    texts = [_text(one) for one in found]
    about = listed([f"{one.ports}/{one.rule.protocol}" for one in found])
    remedy += f"; where it is meant, `accept: [{PUBLISHED}]`"
    return Finding.of(constraint, PUBLISHED, reason.format(listed(texts)), remedy, about=about)


def _text(one: PublishedPort) -> str:
    return f"{one.ports}/{one.rule.protocol} ({one.rule.source} to {one.rule.target})"
