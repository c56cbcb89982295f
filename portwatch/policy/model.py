"""A policy that has been checked: plain frozen records, every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.words.addresses import AddressSet
from portwatch.policy.words.ports import NO_ENDPOINTS, EndpointSet
from portwatch.policy.workload import Selector, Workload

Mode = Literal["enforce", "record"]
Errno = Literal["EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL"]
Otherwise = Literal["deny", "allow", "continue"]
Default = Literal["allow", "deny"]
NetworkScope = Literal["any", "host"]
Acceptable = Literal[
    "shared-ports",
    "catalog-overlap",
    "ephemeral-range",
    "ephemeral-udp-open",
    "wildcard-not-needed",
    "selector-matches-nothing",
    "claimed-names-only",
    "unreachable-constraint",
    "picked-ports-only",
    "matches-nobody",
    "unused-entry",
    "repeated-entry",
    "published-port",
]
"""Findings of `check` that a constraint may say are meant; what locks out is not among them."""

DEFAULT_NAME = "default"
"""What a denial by the policy's `default` calls its constraint; no constraint may have it."""

UNKNOWN_PODS = "unknown-pods"
"""What the constraint is called that `pods: {unknown: …}` stands for."""

MAX_CONSTRAINTS = 1024


@dataclass(frozen=True)
class Constraint:
    """One constraint; `mode`, `errno` and `reason` are effective, `own_mode` is as written.

    `subject_for` None means everyone, `addresses` None every address. `accept`: what `check` finds
    and the author means; it decides nothing. `file`, `line` and `column` say where it stands.
    """

    name: str
    mode: Mode
    errno: Errno
    reason: str | None = None
    subject_for: tuple[Selector, ...] | None = None
    subject_except: tuple[Selector, ...] = ()
    network: NetworkScope = "any"
    addresses: AddressSet | None = None
    deny: EndpointSet = NO_ENDPOINTS
    allow: EndpointSet = NO_ENDPOINTS
    has_allow: bool = False
    otherwise: Otherwise = "continue"
    own_mode: Mode | None = None
    accept: tuple[Acceptable, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Policy:
    """A whole policy. `source` names the file or directory. `catalog` are the sets of the catalog
    that it names; `sha256` is over the file texts, and over the machine's own among those sets."""

    mode: Mode
    default: Default
    errno: Errno
    constraints: tuple[Constraint, ...]
    workloads: tuple[Workload, ...]
    source: str
    sha256: str
    reason: str | None = None
    catalog: tuple[CatalogEntry, ...] = ()

    @property
    def uses_declared(self) -> bool:
        """Whether some list holds `declared`: what it means depends on the pod."""
        return any(c.deny.declared or c.allow.declared for c in self.constraints)

    def as_declared(self, is_declared: bool) -> Policy:
        """Return the policy as it is for every port that the pod which binds declares, or for
        every one that it does not: the two say together what this one says."""
        if not self.uses_declared:
            return self
        constraints = tuple(
            replace(c, deny=c.deny.as_declared(is_declared), allow=c.allow.as_declared(is_declared))
            for c in self.constraints
        )
        return replace(self, constraints=constraints)

    def with_mode(self, mode: Mode) -> Policy:
        """Return this policy in another mode.

        `record` silences every constraint; `enforce` is the file's `mode: enforce`, which
        leaves a constraint that says its own mode as it is.
        """
        constraints = tuple(
            replace(c, mode=mode if mode == "record" else c.own_mode or mode)
            for c in self.constraints
        )
        return replace(self, mode=mode, constraints=constraints)
