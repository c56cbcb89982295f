"""Ports and addresses → classes: endpoints that no constraint can tell apart share one.

Bitmaps are Python integers, bit i for constraint i.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from portwatch.policy.model import Constraint
from portwatch.policy.words.addresses import (
    BITS,
    V4_LENGTH,
    V4_PREFIX,
    V4_WILDCARD,
    V6_WILDCARD,
    Network,
)
from portwatch.policy.words.ports import LAST_PORT, PROTOCOLS, PortRange

PORTS = LAST_PORT + 1
LISTENING_PROTOCOL = "tcp"
"""The one protocol of which the kernel tells that a socket listens."""

NO_ATOM = -1
Declared = tuple[str, int]
"""Protocol and port."""

KINDS = 2
"""Kind 0: the port asked for by number, 0 meaning ephemeral; kind 1: picked by the kernel."""


class Lists(NamedTuple):
    """Which constraints' lists name an endpoint; `numbered`: otherwise and default speak too;
    `gate`: that a list allows it is worth knowing. `atom` is the number of a port that some pod
    declares, NO_ATOM for others: for such a pod the lists `also` name it, deny and allow."""

    numbered: bool
    deny: int
    allow: int
    gate: bool = False
    atom: int = NO_ATOM
    also: tuple[int, int] = (0, 0)

    def canonical(self) -> Lists:
        """Return the lists less what cannot matter: deny speaks before allow, and where only
        lists speak an allow after the last deny changes no verdict."""
        allow = self.allow & ~self.deny
        deny_too = self.also[0] & ~self.deny
        allow_too = self.also[1] & ~(self.deny | deny_too | allow)
        if not self.numbered and not self.gate:
            before_last = (1 << (self.deny | deny_too).bit_length()) - 1
            allow, allow_too = allow & before_last, allow_too & before_last
        if not deny_too and not allow_too:
            return Lists(self.numbered, self.deny, allow, self.gate)
        return Lists(self.numbered, self.deny, allow, self.gate, self.atom, (deny_too, allow_too))

    def within(self, deny: int, allow: int) -> Lists:
        """Return the lists of those constraints only whose addresses hold an address."""
        deny_too, allow_too = self.also
        here = self._replace(deny=self.deny & deny, allow=self.allow & allow)
        return here._replace(also=(deny_too & deny, allow_too & allow)).canonical()

    def declared(self) -> Lists:
        """Return the lists for a pod that declares the port."""
        deny_too, allow_too = self.also
        lists = Lists(self.numbered, self.deny | deny_too, self.allow | allow_too, self.gate)
        return lists.canonical()


def port_classes(
    constraints: Sequence[Constraint], atoms: Mapping[Declared, int] | None = None
) -> tuple[array[int], list[Lists]]:
    """Return the class of every port as [kind][protocol][port], and what each class stands for.

    The last class is no port's: what the lists say of `ephemeral/tcp`, allowing it included.
    `atoms` are the ports that pods declare, by number.
    """
    classes: dict[Lists, int] = {}
    numbered = array("H")
    picked = array("H")
    rows: dict[tuple[Run, ...], tuple[array[int], array[int]]] = {}
    toggles = _toggles(constraints)
    for protocol in PROTOCOLS:
        plain = [(*run, NO_ATOM, (0, 0)) for run in _runs(toggles[protocol])]
        mine = {port: n for (name, port), n in (atoms or {}).items() if name == protocol}
        runs = tuple(_with_atoms(plain, mine, _also(constraints, protocol)) if mine else plain)
        if runs not in rows:
            rows[runs] = _fill(runs, classes)
        numbered.extend(rows[runs][0])
        picked.extend(rows[runs][1])
    _, deny_0, allow_0 = next(_runs(toggles[LISTENING_PROTOCOL]))
    gate = Lists(False, deny_0, allow_0, gate=True).canonical()
    return numbered + picked, [*classes, gate]


def port_runs(constraints: Iterable[Constraint]) -> dict[str, list[tuple[int, int, int]]]:
    """Return per protocol the (first port, deny bits, allow bits) of the runs of ports that the
    lists tell apart, port 0 (`ephemeral`) and port 1 always first of theirs."""
    return {protocol: list(_runs(toggles)) for protocol, toggles in _toggles(constraints).items()}


Run = tuple[int, int, int, int, tuple[int, int]]
"""First port, deny and allow bits, and the atom with what its lists are also in."""


def _also(constraints: Iterable[Constraint], protocol: str) -> tuple[int, int]:
    """Return the constraints whose deny, and allow, list holds `declared` of a protocol."""
    deny = allow = 0
    for number, one in enumerate(constraints):
        deny |= any(item.protocol == protocol for item in one.deny.declared) << number
        allow |= any(item.protocol == protocol for item in one.allow.declared) << number
    return deny, allow


def _with_atoms(runs: list[Run], atoms: Mapping[int, int], also: tuple[int, int]) -> Iterator[Run]:
    """Yield the runs with each port of the atoms as one of its own."""
    ends = [run[0] for run in runs[1:]] + [PORTS]
    ports = sorted(atoms)
    for (first, deny, allow, none, nothing), end in zip(runs, ends, strict=True):
        start = first
        for port in ports[bisect_left(ports, first) : bisect_left(ports, end)]:
            if start < port:
                yield start, deny, allow, none, nothing
            yield port, deny, allow, atoms[port], also
            start = port + 1
        if start < end:
            yield start, deny, allow, none, nothing


def _fill(runs: tuple[Run, ...], classes: dict[Lists, int]) -> tuple[array[int], array[int]]:
    """Return one protocol's row of each kind."""
    _, deny_0, allow_0, *_ = runs[0]  # the run of port 0: what the lists say of `ephemeral`
    ephemeral = _number(classes, Lists(False, deny_0, allow_0))
    numbered, picked = array("H", [ephemeral]), array("H", [ephemeral])
    ends = [first for first, *_ in runs[2:]] + [PORTS]
    for (first, deny, allow, atom, also), end in zip(runs[1:], ends, strict=True):
        count = end - first
        by_number = _number(classes, Lists(True, deny, allow, False, atom, also))
        of_kernel = Lists(False, deny | deny_0, allow | allow_0, False, atom, also)
        by_kernel = _number(classes, of_kernel)
        numbered.extend(array("H", [by_number]) * count)
        picked.extend(array("H", [by_kernel]) * count)
    return numbered, picked


def _number(classes: dict[Lists, int], lists: Lists) -> int:
    return classes.setdefault(lists.canonical(), len(classes))


def _toggles(constraints: Iterable[Constraint]) -> dict[str, dict[int, list[int]]]:
    """Return per protocol, port → [deny, allow] bits that change there; 0 and 1 are always in."""
    toggles: dict[str, dict[int, list[int]]] = {
        protocol: {0: [0, 0], 1: [0, 0]} for protocol in PROTOCOLS
    }
    for number, constraint in enumerate(constraints):
        bit = 1 << number
        for which, ports in enumerate((constraint.deny, constraint.allow)):
            ranges = ports.ranges
            for protocol in PROTOCOLS if ranges else ():
                changes = toggles[protocol]
                for first, end in _union(ranges, protocol):
                    changes.setdefault(first, [0, 0])[which] ^= bit
                    changes.setdefault(end, [0, 0])[which] ^= bit
    return toggles


def _union(ranges: Iterable[PortRange], protocol: str) -> Iterator[tuple[int, int]]:
    """Yield (first, one past the last) of the ranges that mean a protocol, none touching."""
    spans = sorted((r.first, r.last + 1) for r in ranges if r.protocol in (None, protocol))
    begin = end = -1
    for first, past in spans:
        if first > end:
            if end > begin:
                yield begin, end
            begin, end = first, past
        elif past > end:
            end = past
    if end > begin:
        yield begin, end


def _runs(toggles: dict[int, list[int]]) -> Iterator[tuple[int, int, int]]:
    deny = allow = 0
    for port in sorted(toggles):
        deny ^= toggles[port][0]
        allow ^= toggles[port][1]
        if port < PORTS:
            yield port, deny, allow


@dataclass(frozen=True, slots=True)
class AddressClasses:
    """The address dimension; each class is (deny bits, allow bits) over constraints.

    `prefixes` are (length, 16 bytes, class), for longest-prefix match; no prefix: class
    `default`; the dual-stack wildcard: class `dual`.
    """

    prefixes: list[tuple[int, bytes, int]]
    default: int
    dual: int
    classes: list[tuple[int, int]]


def address_classes(constraints: Iterable[Constraint]) -> AddressClasses:
    """Return the classes of all addresses; one class where no constraint names any."""
    everywhere = 0
    holders: dict[Network, int] = {}
    for number, constraint in enumerate(constraints):
        if constraint.addresses is None:
            everywhere |= 1 << number
            continue
        for network in constraint.addresses.networks:
            holders[network] = holders.get(network, 0) | 1 << number
    if holders:
        # IPv6 networks do not hold IPv4 addresses: at ::ffff:0:0/96 their bits end.
        holders.setdefault(Network(V4_PREFIX, V4_LENGTH), 0)
    classes: dict[tuple[int, int], int] = {}

    def number_of(deny: int, allow: int) -> int:
        return classes.setdefault((deny | everywhere, allow | everywhere), len(classes))

    default = number_of(0, 0)
    halves = [
        sum_bits(bits for network, bits in holders.items() if network.contains(half))
        for half in (V4_WILDCARD, V6_WILDCARD)
    ]
    prefixes = []
    above: list[tuple[Network, int, int]] = []  # the networks around: network, bits, class
    for network in sorted(holders):
        while above and not _within(network, above[-1][0]):
            above.pop()
        inherited = above[-1][1] if above and above[-1][0].is_v4 == network.is_v4 else 0
        bits = holders[network] | inherited
        number = number_of(bits, bits)
        if number != (above[-1][2] if above else default):
            prefixes.append((network.length, network.value.to_bytes(16, "big"), number))
        above.append((network, bits, number))
    dual = number_of(halves[0] | halves[1], halves[0] & halves[1])
    return AddressClasses(prefixes, default, dual, list(classes))


def sum_bits(bitmaps: Iterable[int]) -> int:
    """Return all bits that any of the bitmaps has."""
    total = 0
    for bitmap in bitmaps:
        total |= bitmap
    return total


def _within(inner: Network, outer: Network) -> bool:
    return (
        inner.length >= outer.length and (inner.value ^ outer.value) >> (BITS - outer.length) == 0
    )
