"""The endpoints of two policies together: those that neither tells apart are one bit.

What a constraint says of them is two bitmaps a stage: where it speaks, and where it denies. A bind
has one stage. A listener on a port that the kernel picked has three: the lists that name its port,
those that name `ephemeral`, and its port as if it had been asked for.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

from portwatch.policy.difference.addresses import AddressSpace, AddressWords
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.endpoint_classes import (
    LISTENING_PROTOCOL,
    PORTS,
    Lists,
    port_classes,
    sum_bits,
)
from portwatch.policy.words.ports import PROTOCOLS

Kind = Literal["asked", "picked", "listening"]
"""A port that was asked for by number (0: `ephemeral`), one that the kernel picked, and one of
those on which the socket listens."""

STAGES = 3
"""Of a listener; those of a bind are one."""

KINDS: tuple[Kind, ...] = ("asked", "picked", "listening")


_ALIKE = re.compile(r"([^0])\1*")
"""Runs one after another with the same letter, which is not 0."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Where one constraint speaks, and where it denies, a stage after another; `anywhere`: where
    it speaks at any stage."""

    speaks: tuple[int, ...]
    denies: tuple[int, ...]
    anywhere: int


@dataclass(frozen=True, slots=True)
class _Row:
    """Runs of ports of some protocols, the first of them `ephemeral`: their bits by class of
    addresses and run. `pick` takes the bits of one class out of a sequence of all bits; `torn`:
    the runs in which not all inhabited classes have one bit, and which classes have which."""

    kind: Kind
    protocols: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]
    pick: Callable[[str], tuple[str, ...]]
    torn: dict[int, dict[int, frozenset[int]]]
    bits: int


@dataclass(frozen=True, slots=True)
class Area:
    """Ports as (first, last) of some protocols, at some addresses; 0-0 is `ephemeral`."""

    kind: Kind
    protocols: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]
    addresses: AddressWords
    address_classes: frozenset[int]


class EndpointSpace:
    """`plain` are the bits of binds, `listening` those of listeners.

    `speeches` are those of the constraints of the first policy, its `default` last, and then of
    the second.
    """

    def __init__(self, policies: tuple[Policy, Policy]) -> None:
        constraints = [constraint for policy in policies for constraint in policy.constraints]
        self.addresses = AddressSpace(constraints)
        classes, lists = port_classes(constraints)
        self._numbers: dict[tuple[Lists, ...], int] = {}
        self._cells: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._lists = lists
        self._gate = len(lists) - 1
        self._edges = _edges(constraints)
        self._rows = list(self._all_rows(classes))
        self.plain = sum(1 << n for lists, n in self._numbers.items() if len(lists) == 1)
        self.listening = (1 << len(self._numbers)) - 1 - self.plain
        self.speeches = self._speeches(policies)

    def bit_of(self, endpoint: Endpoint) -> int:
        """Return the bit of one endpoint."""
        kind = KINDS[endpoint.picked + endpoint.listening]
        run = bisect_right(self._edges, endpoint.port) - 1
        address_class = self.addresses.class_of(endpoint.address)
        rows = (row for row in self._rows if row.kind == kind)
        row = next(row for row in rows if endpoint.protocol in row.protocols)
        return 1 << row.cells[address_class][run]

    def areas(self, endpoints: int) -> tuple[Area, ...]:
        """Return what the bits of `endpoints` stand for, in few areas."""
        flags = f"{endpoints:0{len(self._numbers)}b}"[::-1]
        together: dict[tuple[Kind, frozenset[int], tuple[tuple[int, int], ...]], list[str]] = {}
        for row in self._rows:
            spans: dict[frozenset[int], list[tuple[int, int]]] = {}
            for first, end, classes in self._spans(row, flags) if row.bits & endpoints else ():
                if first == 0 and row.kind == "asked":
                    spans.setdefault(classes, []).append((0, 0))
                if end > 1:
                    ports = self._edges[max(first, 1)], self._edges[end] - 1
                    spans.setdefault(classes, []).append(ports)
            for classes, all_ports in spans.items():
                together.setdefault((row.kind, classes, tuple(all_ports)), []).extend(row.protocols)
        return tuple(
            Area(kind, _in_order(protocols), ports, self.addresses.words(classes), classes)
            for (kind, classes, ports), protocols in together.items()
        )

    def _spans(self, row: _Row, flags: str) -> Iterator[tuple[int, int, frozenset[int]]]:
        """Yield runs of a row as (first, one past the last), and the classes of addresses that are
        flagged in all of them."""
        every = frozenset(self.addresses.inhabited)
        letters: dict[frozenset[int], str] = {frozenset(): "0", every: "1"}
        runs = list(row.pick(flags))
        for run, having in row.torn.items():
            flagged = (some for bit, some in having.items() if flags[bit] == "1")
            some = frozenset().union(*flagged)
            runs[run] = letters.setdefault(some, chr(ord("1") + len(letters)))
        classes = {letter: some for some, letter in letters.items()}
        for found in _ALIKE.finditer("".join(runs)):
            yield found.start(), found.end(), classes[found[1]]

    def example(self, area: Area) -> Endpoint:
        """Return a bind that lies in an area."""
        port = area.ports[0][0]
        address = self.addresses.example(area.address_classes)
        picked, listening = area.kind != "asked", area.kind == "listening"
        return Endpoint(area.protocols[0], port, address, picked, listening)

    def _all_rows(self, classes: array[int]) -> Iterator[_Row]:
        together: dict[tuple[bool, tuple[int, ...]], list[str]] = {}
        for picked in (False, True):
            for number, protocol in enumerate(PROTOCOLS):
                begin = (picked * len(PROTOCOLS) + number) * PORTS
                of_row = tuple(classes[begin + first] for first in self._edges[:-1])
                together.setdefault((picked, of_row), []).append(protocol)
        listening: list[tuple[int, ...]] = []
        for (picked, of_row), protocols in together.items():
            yield self._row(KINDS[picked], tuple(protocols), [(number,) for number in of_row])
            if LISTENING_PROTOCOL in protocols:
                listening.append(of_row)
        asked, by_kernel = listening
        stages = [(one, self._gate, other) for one, other in zip(by_kernel, asked, strict=True)]
        yield self._row(KINDS[2], (LISTENING_PROTOCOL,), stages)

    def _row(
        self, kind: Kind, protocols: tuple[str, ...], stages: Sequence[tuple[int, ...]]
    ) -> _Row:
        by_port = [self._cells_of(port_class) for port_class in stages]
        cells = tuple(zip(*by_port, strict=True))
        inhabited = sorted(self.addresses.inhabited)
        of_runs = zip(*(cells[number] for number in inhabited), strict=True)
        torn = {run: _having(inhabited, n) for run, n in enumerate(of_runs) if len({*n}) > 1}
        bits = sum(1 << number for number in {number for some in cells for number in some})
        return _Row(kind, protocols, cells, itemgetter(*cells[inhabited[0]]), torn, bits)

    def _cells_of(self, port_class: tuple[int, ...]) -> tuple[int, ...]:
        """Return the bits' numbers for each class of addresses."""
        cells = self._cells.get(port_class)
        if cells is None:
            stages = [self._lists[number] for number in port_class]
            denied = sum_bits(lists.deny for lists in stages)
            allowed = sum_bits(lists.allow for lists in stages)
            alike: dict[tuple[int, int], int] = {}  # most classes of addresses are, at one port
            found = []
            for deny, allow in self.addresses.classes:
                key = denied & deny, allowed & allow
                if key not in alike:
                    within = tuple(lists.within(*key) for lists in stages)
                    alike[key] = self._numbers.setdefault(within, len(self._numbers))
                found.append(alike[key])
            cells = self._cells[port_class] = tuple(found)
        return cells

    def _speeches(self, policies: tuple[Policy, Policy]) -> list[Speech]:
        total = sum(len(policy.constraints) for policy in policies)
        inhabited = self._inhabited()
        stages = []
        for stage in range(STAGES):
            deny, allow = [0] * total, [0] * total
            numbered = 0
            for lists, number in self._numbers.items():
                if stage < len(lists) and inhabited >> number & 1:
                    bit = 1 << number
                    numbered |= bit if lists[stage].numbered else 0
                    _add(deny, lists[stage].deny, bit)
                    _add(allow, lists[stage].allow, bit)
            stages.append((numbered, deny, allow))
        speeches = []
        begin = 0
        for policy in policies:
            for number, constraint in enumerate(policy.constraints, begin):
                own = [(numbered, deny[number], allow[number]) for numbered, deny, allow in stages]
                speeches.append(_speech(constraint.otherwise, own))
            begin += len(policy.constraints)
            otherwise = "continue" if policy.default == "allow" else "deny"
            speeches.append(_speech(otherwise, [(numbered, 0, 0) for numbered, _, _ in stages]))
        return speeches

    def _inhabited(self) -> int:
        """Return the bits of which there is an endpoint: some classes of addresses are empty."""
        bits = 0
        for row in self._rows:
            for address_class in self.addresses.inhabited:
                cells = row.cells[address_class]
                for cell in set(cells if row.kind == "asked" else cells[1:]):
                    bits |= 1 << cell
        return bits


def _speech(otherwise: str, stages: Iterable[tuple[int, int, int]]) -> Speech:
    """Return what a constraint says; a stage is the bits of ports that were asked for, and those
    that are in its lists."""
    speaks, denies = [], []
    for numbered, deny, allow in stages:
        if otherwise == "deny":
            deny |= numbered & ~allow
        denies.append(deny)
        speaks.append(deny | allow | (numbered if otherwise == "allow" else 0))
    return Speech(tuple(speaks), tuple(denies), sum_bits(speaks))


def _add(bitmaps: list[int], constraints: int, bit: int) -> None:
    while constraints:
        low = constraints & -constraints
        bitmaps[low.bit_length() - 1] |= bit
        constraints ^= low


def _having(classes: Iterable[int], bits: Iterable[int]) -> dict[int, frozenset[int]]:
    """Return which of the classes have which bit."""
    found: dict[int, set[int]] = {}
    for address_class, bit in zip(classes, bits, strict=True):
        found.setdefault(bit, set()).add(address_class)
    return {bit: frozenset(having) for bit, having in found.items()}


def _in_order(protocols: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(protocols, key=PROTOCOLS.index))


def _edges(constraints: Iterable[Constraint]) -> list[int]:
    """Return where the class of a port can change: the first ports of runs, and one past all."""
    edges = {0, 1, PORTS}
    for constraint in constraints:
        for item in (*constraint.deny.ranges, *constraint.allow.ranges):
            edges |= {item.first, item.last + 1}
    return sorted(edges)
