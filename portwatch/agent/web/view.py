"""What the pages show: plain records of one moment, whatever they were read from.

They are made by look.py; pages only read them, and so can tests that have no kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portwatch.agent.state import Refusal
from portwatch.agent.survey.report import PublishedSpan, Series
from portwatch.kernel.readings import HookState
from portwatch.node.accounts import AccountTable
from portwatch.policy.model import Policy
from portwatch.policy.tables.compile import CompiledPolicy
from portwatch.policy.workload import KnownContainer

EVERYBODY_ELSE = "everybody else"
"""What is called by no defined workload, on the port map."""

OTHER = "other"
"""The workload, constraint or port of what was counted past a bound."""


@dataclass(frozen=True, slots=True)
class InForce:
    """One policy as it was published; `accounts` are those that it names."""

    generation: int
    policy: Policy
    compiled: CompiledPolicy
    accounts: AccountTable
    origin: str
    since_seconds: float


@dataclass(frozen=True, slots=True)
class Resident:
    """A cgroup that is here, as a workload that binds."""

    cgroup: str
    container: KnownContainer | None = None


@dataclass(frozen=True, slots=True)
class SeenViolation:
    """What was counted of one constraint, workload and port; `port` is None for what did not fit.
    `age_seconds`: since it was last told of."""

    constraint: str
    workload: str
    protocol: str
    port: int | None
    verdict: str
    count: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class SeenCollision:
    """Binds of one workload that failed with EADDRINUSE; `port` None: what did not fit."""

    workload: str
    protocol: str
    port: int | None
    count: int


@dataclass(frozen=True)
class View:
    """Everything at one moment. `violations`: the last ones first, `violation_kinds` how many
    there are in all; `residents` by the name that a workload has in the metrics; `binds` by
    verdict; `local_ports`: first and last that the kernel picks; `published`: what NAT takes of the
    host's network."""

    now_seconds: float
    in_force: InForce | None
    enforcing_policy: bool
    missing_hooks: tuple[str, ...] = ()
    hooks: tuple[HookState, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None
    binds: Mapping[str, int] = field(default_factory=dict)
    events_lost: int = 0
    events_suppressed: int = 0
    unjudged: int = 0
    violations: tuple[SeenViolation, ...] = ()
    violation_kinds: int = 0
    collisions: tuple[SeenCollision, ...] = ()
    collision_kinds: int = 0
    listeners: tuple[tuple[Series, int], ...] = ()
    published: tuple[PublishedSpan, ...] = ()
    surveyed_seconds: float = 0.0
    residents: Mapping[str, Resident] = field(default_factory=dict)
    local_ports: tuple[int, int] = (32768, 60999)
