"""Whose a port is, by the policy and by the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.policy.catalog.catalog import CatalogEntry, readable_catalog
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import Endpoint
from portwatch.policy.selector_relations import alternatives, covers
from portwatch.policy.workload import Selector


@dataclass(frozen=True)
class Owner:
    """Workloads that a constraint lets have the port. `is_kept`: it denies it to all others."""

    constraint: Constraint
    workloads: tuple[str, ...]
    is_kept: bool

    def __str__(self) -> str:
        what = "kept for" if self.is_kept else "allowed to"
        place = f"{self.constraint.name} ({self.constraint.file}:{self.constraint.line})"
        return f"{what} {', '.join(self.workloads)} by {place}"


def owners(policy: Policy, endpoint: Endpoint) -> list[Owner]:
    """Return who may have a port, in the order of the constraints: those excepted where all others
    are denied it, and those whose own list allows it. Nobody owns a bind to port 0.

    Whoever is certainly denied it by an earlier constraint is left out.
    """
    if endpoint.port == 0:
        return []
    found = []
    denying: list[Constraint] = []
    for constraint in policy.constraints:
        denies, allows = _denies(constraint, endpoint), _allows(constraint, endpoint)
        wanted: tuple[Selector, ...] = ()
        if denies and constraint.subject_for is None:
            wanted = constraint.subject_except
        elif allows and not denies and constraint.subject_for is not None:
            wanted = alternatives(constraint)
        left = [who for who in wanted if not _is_denied(who, constraint, denying)]
        if left:
            names = tuple(dict.fromkeys(map(str, left)))
            found.append(Owner(constraint, names, denies))
        if denies or (constraint.otherwise == "deny" and not allows):
            denying.append(constraint)
    return found


def _is_denied(who: Selector, constraint: Constraint, denying: list[Constraint]) -> bool:
    """Whether an earlier constraint denies the port to all of these."""
    return any(
        covers(earlier, constraint, who)
        for earlier in denying
        if earlier.mode == "enforce" or constraint.mode == "record"
    )


def _denies(constraint: Constraint, endpoint: Endpoint) -> bool:
    addresses = constraint.addresses
    near = addresses is None or addresses.exposes(endpoint.address)
    return near and constraint.deny.find(endpoint.protocol, endpoint.port) is not None


def _allows(constraint: Constraint, endpoint: Endpoint) -> bool:
    addresses = constraint.addresses
    near = addresses is None or addresses.covers(endpoint.address)
    return near and constraint.allow.find(endpoint.protocol, endpoint.port) is not None


def catalog_sets(protocol: str, port: int) -> list[CatalogEntry]:
    """Return the sets of the catalog that hold a port, those of the fewest ports first; not those
    that hold it only as they include another one."""
    found = {
        name: entry
        for name, entry in readable_catalog().items()
        if any(item.contains(protocol, port) for item in entry.ranges)
    }
    own = [entry for entry in found.values() if not found.keys() & set(entry.includes)]
    return sorted(own, key=lambda entry: sum(r.last - r.first + 1 for r in entry.ranges))
