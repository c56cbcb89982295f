"""A policy → the tables that the kernel looks outcomes up in (DESIGN.md, "The tables").

Recursive flow classification: each dimension of a bind to a class, classes to an endpoint
class, subject × endpoint class to an outcome. What depends on the subject is worked out on
demand: cgroups come and go while the policy stays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from portwatch.errors import PolicyError, Problem
from portwatch.policy.model import Policy
from portwatch.policy.tables.endpoint_classes import (
    AddressClasses,
    Declared,
    Lists,
    address_classes,
    port_classes,
)
from portwatch.policy.tables.outcomes import ALLOWED, Judge, Outcome
from portwatch.policy.tables.subject_classes import SubjectClasses
from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import KnownContainer, Selector, declared_ports

__all__ = ["Accounts", "CompiledPolicy", "Outcome", "SubjectRow", "compile_policy"]

MAX_ENDPOINT_CLASSES = 4096
MAX_ENDPOINT_PAIRS = 262_144
"""Port classes × address classes: the size of the kernel's cross-product table."""

MAX_ADDRESS_PREFIXES = 16_384
NOT_UNIFORM = 0xFFFF


class Accounts(Protocol):
    """The machine's user and group databases, name → id."""

    @property
    def users(self) -> Mapping[str, int]:
        """User name → uid."""

    @property
    def groups(self) -> Mapping[str, int]:
        """Group name → gid."""


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """What one kind of subject gets: an outcome index per endpoint class, its workload's name."""

    decisions: array[int]
    workload: str | None


class CompiledPolicy:
    """The tables of one policy; the attributes are written in DESIGN.md's terms.

    `port_classes`: [kind][protocol][port], kind 0 asked for by number (port 0: ephemeral),
    kind 1 picked by the kernel. `endpoint_classes`: [port class × address_class_count +
    address class]. `address_classes`: (prefix length, 16 bytes, class) for longest-prefix
    match. `declared`: the ports of pods that the tables tell apart, where the policy uses the word.
    `ephemeral_gate`: the port class that tells whether a list allows `ephemeral/tcp`, by
    outcome LISTED. `uniform`: per endpoint class the outcome that every subject gets, or
    NOT_UNIFORM. `user_classes`, `group_classes`: id → class, absent ids are class 0. Where a
    `uses_` is False, its dimension changes no outcome and no workload name.
    """

    def __init__(
        self, policy: Policy, accounts: Accounts, declared: Iterable[Declared] = ()
    ) -> None:
        self.policy = policy
        self.uses_declared = policy.uses_declared
        known = sorted(declared) if self.uses_declared else []
        self.declared = {endpoint: number for number, endpoint in enumerate(known)}
        self._endpoints(policy)
        used = [s for c in policy.constraints for s in (*(c.subject_for or ()), *c.subject_except)]
        used += [s for workload in policy.workloads for s in workload.selectors]
        self._subjects = SubjectClasses(used, accounts.users, accounts.groups)
        self._judge = Judge(policy, self._subjects)
        self.outcomes: list[Outcome] = self._judge.outcomes
        self.uniform = array("H", map(self._judge.uniform, self._lists))
        self.user_classes = self._subjects.users.classes
        self.group_classes = self._subjects.groups.classes
        self.user_class_count = len(self._subjects.users.bits)
        self.group_class_count = len(self._subjects.groups.bits)
        self.uses_addresses = any(c.addresses is not None for c in policy.constraints)
        self.uses_cgroups = self._subjects.uses_cgroups or self.uses_declared
        self.uses_engines = self._subjects.uses_engines
        self.uses_pods = self._subjects.uses_pods or self.uses_declared
        self.uses_users = self._subjects.uses_users
        self.uses_groups = self._subjects.uses_groups
        self.uses_network = any(c.network == "host" for c in policy.constraints)
        self.uses_picked = any(
            not lists.numbered and not lists.gate and self.uniform[number] != ALLOWED
            for number, lists in enumerate(self._lists)
        )
        self._speakers = self._judge.speakers(self._lists)
        self._where_declared = self._judge.speakers_where_declared(self._lists)

    def cgroup_signature(self, path: str, container: KnownContainer | None = None) -> int:
        """Return a bitmap over the policy's predicates about cgroups, for a path from the root;
        and, above them, over the ports that pods declare."""
        bits = self._subjects.cgroup_bits(path, container)
        for endpoint in declared_ports(path, container) if self.declared else ():
            if endpoint in self.declared:
                bits |= 1 << self._subjects.cgroup_bit_count + self.declared[endpoint]
        return bits

    def mentions(self, cgroup_signature: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return which constraints mean such a cgroup, and which except it, whoever the user is;
        those that say nothing of cgroups are left out."""
        meant, excepted = [], []
        for constraint in self.policy.constraints:
            if self._names_cgroup(constraint.subject_for or (), cgroup_signature):
                meant.append(constraint.name)
            if self._names_cgroup(constraint.subject_except, cgroup_signature):
                excepted.append(constraint.name)
        return tuple(meant), tuple(excepted)

    def _names_cgroup(self, selectors: tuple[Selector, ...], cgroup_signature: int) -> bool:
        bits = (self._subjects.bits_of(selector) for selector in selectors)
        return any(one.cgroup and one.matches_cgroup(cgroup_signature) for one in bits)

    def subject_row(
        self, cgroup_signature: int, user_class: int, group_class: int, host_network: bool
    ) -> SubjectRow:
        """Return what a subject of these classes gets from every endpoint class."""
        user_bits = self._subjects.users.bits[user_class]
        group_bits = self._subjects.groups.bits[group_class]
        applying = self._judge.applying(cgroup_signature, user_bits, group_bits, host_network)
        speakers = self._speakers_for(cgroup_signature >> self._subjects.cgroup_bit_count)
        decisions = array("H", self._judge.row(applying, speakers))
        return SubjectRow(decisions, self.workload(cgroup_signature, user_class, group_class))

    def workload(self, cgroup_signature: int, user_class: int, group_class: int) -> str | None:
        """Return the defined workload that a subject of these classes is."""
        user_bits = self._subjects.users.bits[user_class]
        group_bits = self._subjects.groups.bits[group_class]
        return self._judge.workload(cgroup_signature, user_bits, group_bits)

    def _speakers_for(self, declared_bits: int) -> list[tuple[int, int, int]]:
        if not declared_bits:
            return self._speakers
        speakers = self._speakers.copy()
        for number, atom, speaking in self._where_declared:
            if declared_bits >> atom & 1:
                speakers[number] = speaking
        return speakers

    def _endpoints(self, policy: Policy) -> None:
        """Cross port classes with address classes, and number the endpoints that differ."""
        self.port_classes, ports = port_classes(policy.constraints, self.declared)
        addresses = address_classes(policy.constraints)
        _check_bounds(policy, len(ports), addresses)
        numbers: dict[Lists, int] = {}
        self.endpoint_classes = array("H")
        for lists in ports:
            for deny, allow in addresses.classes:
                number = numbers.setdefault(lists.within(deny, allow), len(numbers))
                self.endpoint_classes.append(number)
                if len(numbers) > MAX_ENDPOINT_CLASSES:
                    _refuse(policy, f"more than {MAX_ENDPOINT_CLASSES:,} endpoint classes")
        self.ephemeral_gate = len(ports) - 1
        self._lists = list(numbers)
        self.endpoint_class_count = len(numbers)
        self.address_classes = addresses.prefixes
        self.default_address_class = addresses.default
        self.dual_address_class = addresses.dual
        self.address_class_count = len(addresses.classes)


def compile_policy(
    policy: Policy, accounts: Accounts, declared: Iterable[Declared] = ()
) -> CompiledPolicy:
    """Work out the tables, for pods that declare these ports at most. Raises PolicyError where a
    table would pass its bound."""
    return CompiledPolicy(policy, accounts, declared)


def class_of_address(compiled: CompiledPolicy, address: Address) -> int:
    """Return the class of a bind address: that of its longest prefix."""
    if address.dual:
        return compiled.dual_address_class
    best, found = -1, compiled.default_address_class
    for length, prefix, number in compiled.address_classes:
        difference = int.from_bytes(prefix, "big") ^ address.value
        if length > best and difference >> (128 - length) == 0:
            best, found = length, number
    return found


def _check_bounds(policy: Policy, ports: int, addresses: AddressClasses) -> None:
    if ports > MAX_ENDPOINT_CLASSES:
        _refuse(policy, f"{ports:,} endpoint classes; there may be {MAX_ENDPOINT_CLASSES:,}")
    pairs = ports * len(addresses.classes)
    if pairs > MAX_ENDPOINT_PAIRS:
        message = f"{ports:,} port classes × {len(addresses.classes):,} address classes are"
        _refuse(policy, f"{message} {pairs:,}; there may be {MAX_ENDPOINT_PAIRS:,}")
    if len(addresses.prefixes) > MAX_ADDRESS_PREFIXES:
        count = len(addresses.prefixes)
        _refuse(policy, f"{count:,} address prefixes; there may be {MAX_ADDRESS_PREFIXES:,}")


def _refuse(policy: Policy, message: str) -> None:
    message = f"too much for the kernel's tables: {message}"
    raise PolicyError([Problem(policy.source, 1, 1, message)])
