"""The two readings of a policy, as CONTRACT §1 tells them: what decide and explain both use.

The reference semantics: constraint by constraint, no tables and no bitmaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portwatch.policy.model import Constraint, Policy
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.ports import PROTOCOLS, EndpointSet
from portwatch.policy.workload import Selector, Subject

EPHEMERAL = 0
"""The port number that asks the kernel to pick one."""

Effect = Literal["deny", "allow", "continue", "skip"]
"""What a constraint says of a bind; `skip`: it does not apply."""

Cause = Literal["for", "except", "network", "deny", "allow", "otherwise"]
"""The part of the constraint that made it say so."""


@dataclass(frozen=True)
class Endpoint:
    """What is bound. `port` 0 asks the kernel to pick; `picked`: the kernel picked `port`;
    `listening`: and now the socket listens there.

    `protocol` is one of PROTOCOLS; MPTCP is tcp, whatever has no name here is other.
    """

    protocol: str
    port: int
    address: Address
    picked: bool = False
    listening: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol {self.protocol!r} is none of {PROTOCOLS}")
        if not 0 <= self.port <= 65535 or (self.picked and self.port == EPHEMERAL):
            raise ValueError(f"port {self.port} cannot be bound")
        if self.listening and not (self.picked and self.protocol == "tcp"):
            raise ValueError("only TCP tells that it listens; a port asked for is judged before")

    @property
    def lists_only(self) -> bool:
        """Whether only lists speak of it: the kernel picks, or picked, the port."""
        return self.picked or self.port == EPHEMERAL


@dataclass(frozen=True)
class Judgement:
    """What one constraint says of a bind, and why.

    `word` is the list's word that matched; `selectors` those that did, or did not, match.
    """

    constraint: Constraint
    effect: Effect
    cause: Cause
    word: str = ""
    selectors: tuple[Selector, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Both readings: every constraint looked at, and where each reading ended.

    `real` and `would_be` are None where no constraint decided.
    """

    judgements: tuple[Judgement, ...]
    real: Judgement | None
    would_be: Judgement | None


def read(policy: Policy, subject: Subject, endpoint: Endpoint) -> Reading:
    """Take the constraints in order until the real and the would-be reading have both ended."""
    judgements = []
    real = would_be = None
    for constraint in policy.constraints:
        judgement = judge(constraint, subject, endpoint)
        judgements.append(judgement)
        if judgement.effect in ("deny", "allow"):
            would_be = would_be or judgement
            if constraint.mode == "enforce":
                real = judgement
                break
    return Reading(tuple(judgements), real, would_be)


def judge(constraint: Constraint, subject: Subject, endpoint: Endpoint) -> Judgement:
    """Return what one constraint says, as if it were enforced."""
    if constraint.network == "host" and not subject.host_network:
        return Judgement(constraint, "skip", "network")
    if constraint.subject_for is not None and not any(
        selector.matches(subject) for selector in constraint.subject_for
    ):
        return Judgement(constraint, "skip", "for", selectors=constraint.subject_for)
    for selector in constraint.subject_except:
        if selector.matches(subject):
            return Judgement(constraint, "skip", "except", selectors=(selector,))
    is_declared = subject.declares(endpoint.protocol, endpoint.port)
    addresses = constraint.addresses
    if addresses is None or addresses.exposes(endpoint.address):
        word = find(constraint.deny, endpoint, is_declared)
        if word is not None:
            return Judgement(constraint, "deny", "deny", word)
    if addresses is None or addresses.covers(endpoint.address):
        word = find(constraint.allow, endpoint, is_declared)
        if word is not None:
            return Judgement(constraint, "allow", "allow", word)
    effect = "continue" if endpoint.lists_only else constraint.otherwise
    return Judgement(constraint, effect, "otherwise")


def find(ports: EndpointSet, endpoint: Endpoint, is_declared: bool = False) -> str | None:
    """Return the word of a list that means the endpoint's port, None where none does."""
    word = ports.find(endpoint.protocol, endpoint.port, is_declared)
    if word is None and endpoint.picked:
        word = ports.find(endpoint.protocol, EPHEMERAL)
    return word
