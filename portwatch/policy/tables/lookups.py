"""Many binds against one policy, by its tables: what was worked out for one serves the next."""

from __future__ import annotations

from dataclasses import replace

from portwatch.policy.decide import Decision, Endpoint, Verdict
from portwatch.policy.model import DEFAULT_NAME
from portwatch.policy.tables.compile import (
    NOT_UNIFORM,
    CompiledPolicy,
    SubjectRow,
    class_of_address,
)
from portwatch.policy.tables.endpoint_classes import PORTS
from portwatch.policy.tables.outcomes import ALLOWED, RECORDED, Outcome
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.ports import PROTOCOLS
from portwatch.policy.workload import KnownContainer, Subject

VERDICTS: tuple[Verdict, ...] = ("allowed", "denied", "recorded")


class Lookups:
    """decide() by the tables, but that an `allowed` never names the constraint that allowed.

    Remembers each subject and each address that it was asked about.
    """

    def __init__(self, compiled: CompiledPolicy) -> None:
        self._compiled = compiled
        self._signatures: dict[tuple[str, KnownContainer | None], int] = {}
        self._rows: dict[tuple[int, int, int, bool], SubjectRow] = {}
        self._addresses: dict[Address, int] = {}
        policy = compiled.policy
        self._reasons = {constraint.name: constraint.reason for constraint in policy.constraints}
        self._reasons[DEFAULT_NAME] = policy.reason

    def workload(self, subject: Subject) -> str | None:
        """The first defined workload that `subject` is, in order of definition."""
        return self._row(subject).workload

    def decide(self, subject: Subject, endpoint: Endpoint) -> Decision:
        """The verdict on one bind, or on one that listens on a port that the kernel picked."""
        outcome = self.outcome(subject, endpoint)
        reason = self._reasons.get(outcome.constraint) if outcome.constraint else None
        return Decision(VERDICTS[outcome.verdict], outcome.constraint, outcome.errno, reason)

    def outcome(self, subject: Subject, endpoint: Endpoint) -> Outcome:
        """The outcome by the path that the kernel takes through the tables."""
        compiled = self._compiled
        row = PROTOCOLS.index(endpoint.protocol)
        numbered = compiled.port_classes[row * PORTS + endpoint.port]
        picked = compiled.port_classes[(len(PROTOCOLS) + row) * PORTS + endpoint.port]
        if not endpoint.listening:
            return self._outcome(subject, endpoint, picked if endpoint.picked else numbered)
        for port_class in (picked, compiled.ephemeral_gate, numbered):
            outcome = self._outcome(subject, endpoint, port_class)
            if outcome is not compiled.outcomes[ALLOWED]:
                break
        return replace(outcome, verdict=RECORDED) if outcome.constraint else outcome

    def _outcome(self, subject: Subject, endpoint: Endpoint, port_class: int) -> Outcome:
        compiled = self._compiled
        cell = port_class * compiled.address_class_count + self._address_class(endpoint.address)
        endpoint_class = compiled.endpoint_classes[cell]
        number = compiled.uniform[endpoint_class]
        if number == NOT_UNIFORM:
            number = self._row(subject).decisions[endpoint_class]
        return compiled.outcomes[number]

    def _row(self, subject: Subject) -> SubjectRow:
        compiled = self._compiled
        cgroup = (subject.cgroup, subject.container)
        signature = self._signatures.get(cgroup)
        if signature is None:
            signature = self._signatures[cgroup] = compiled.cgroup_signature(*cgroup)
        user = compiled.user_classes.get(subject.uid, 0)
        group = compiled.group_classes.get(subject.gid, 0)
        key = (signature, user, group, subject.host_network)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = compiled.subject_row(*key)
        return row

    def _address_class(self, address: Address) -> int:
        known = self._addresses.get(address)
        if known is None:
            known = self._addresses[address] = class_of_address(self._compiled, address)
        return known
