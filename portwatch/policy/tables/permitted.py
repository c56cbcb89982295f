"""Which ports a subject may have, by the tables: exact, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portwatch.policy.tables.compile import NOT_UNIFORM, CompiledPolicy, class_of_address
from portwatch.policy.tables.outcomes import ALLOWED
from portwatch.policy.tables.runs import port_runs
from portwatch.policy.words.addresses import (
    ADDRESS_WORDS,
    BITS,
    DUAL,
    Address,
    Network,
    networks_of,
)
from portwatch.policy.words.port_text import Span, coalesced
from portwatch.policy.words.ports import PortRange
from portwatch.policy.workload import Subject

ANY_ADDRESS = "any address"


@dataclass(frozen=True)
class Permitted:
    """Ports that may be asked for by number on each of these addresses, without a violation."""

    addresses: tuple[str, ...]
    ports: tuple[PortRange, ...]


def permitted(
    compiled: CompiledPolicy, subject: Subject, asked: str, address: Address
) -> list[Permitted]:
    """Return what the subject may bind: on the address, called `asked`, then on those words of the
    language, and of the policy, where that is something else; one item where it is the same
    everywhere."""
    allowed = _Allowed(compiled, subject)
    here = allowed.ports({class_of_address(compiled, address)})
    if all(allowed.ports({number}) == here for number in range(compiled.address_class_count)):
        return [Permitted((ANY_ADDRESS,), here)]
    found: dict[tuple[PortRange, ...], list[str]] = {here: [asked]}
    for word, networks in _words(compiled).items():
        ports = allowed.ports(_classes_of(compiled, word, networks))
        if ports and ports != here:
            found.setdefault(ports, []).append(word)
    return [Permitted(tuple(words), ports) for ports, words in found.items()]


class _Allowed:
    """The ports of one subject that are allowed, by address class."""

    def __init__(self, compiled: CompiledPolicy, subject: Subject) -> None:
        self._compiled = compiled
        row = compiled.subject_row(
            compiled.cgroup_signature(subject.cgroup, subject.container),
            compiled.user_classes.get(subject.uid, 0),
            compiled.group_classes.get(subject.gid, 0),
            subject.host_network,
        )
        self._is_allowed = [
            compiled.outcomes[row.decisions[number] if uniform == NOT_UNIFORM else uniform].verdict
            == ALLOWED
            for number, uniform in enumerate(compiled.uniform)
        ]
        self._runs = port_runs(compiled)
        self._known: dict[frozenset[int], tuple[PortRange, ...]] = {}

    def ports(self, address_classes: Iterable[int]) -> tuple[PortRange, ...]:
        """The ports that are allowed on addresses of every one of these classes."""
        key = frozenset(address_classes)
        if key not in self._known:
            self._known[key] = tuple(coalesced(self._spans(key)))
        return self._known[key]

    def _spans(self, address_classes: frozenset[int]) -> Iterator[Span]:
        cells = self._compiled.endpoint_classes
        width = self._compiled.address_class_count
        for protocol, first, last, port_class in self._runs:
            start = port_class * width
            if all(self._is_allowed[cells[start + number]] for number in address_classes):
                yield protocol, first, last


def _words(compiled: CompiledPolicy) -> dict[str, tuple[Network, ...]]:
    """The language's words for addresses, and those that the policy's lists hold."""
    words = {word: networks_of(word) for word in ADDRESS_WORDS}
    for constraint in compiled.policy.constraints:
        for entry in constraint.addresses.entries if constraint.addresses else ():
            words.setdefault(entry.word, entry.networks)
    return words


def _classes_of(compiled: CompiledPolicy, word: str, networks: Iterable[Network]) -> set[int]:
    """The classes of all addresses of a word; the dual-stack wildcard is among the wildcards."""
    found = {class_of_address(compiled, DUAL)} if word == "wildcard" else set()
    for network in networks:
        found.add(class_of_address(compiled, Address(network.value)))
        found |= {
            number
            for length, prefix, number in compiled.address_classes
            if length > network.length
            and (int.from_bytes(prefix, "big") ^ network.value) >> (BITS - network.length) == 0
        }
    return found
