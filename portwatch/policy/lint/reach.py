"""Which constraint can be the first to speak of which endpoints: what most lints ask.

An endpoint class is a run of ports and a class of addresses that no list tells apart. A constraint
reaches one where it speaks of it, and some subject that it applies to has not been spoken for by
an earlier one: an enforced one, or, for a constraint in `mode: record`, any. Where only lists
speak, an `allow` that names `ephemeral` always counts, for it says what a listener on a picked port
is; one that names a number counts for picked ports where a later `deny` speaks too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from portwatch.policy.lint.coverage import Coverage
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.tables.endpoint_classes import (
    PORTS,
    address_classes,
    port_runs,
)
from portwatch.policy.words.ports import PROTOCOLS, PortRange
from portwatch.policy.workload import Selector

Kind = Literal["numbered", "ephemeral", "picked"]


@dataclass(frozen=True, slots=True)
class EndpointClass:
    """The constraints whose deny list, or else whose allow list, names it, and all that speak."""

    deny: int
    allow: int
    speak: int
    numbered: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Ports `first` to `last` of a protocol, and what may be spoken of them, by address class."""

    protocol: str
    first: int
    last: int
    kind: Kind
    classes: tuple[EndpointClass, ...]


class Reach:
    """The runs of a policy, and who reaches them."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        constraints = policy.constraints
        self._enforced = _bits(c.mode == "enforce" for c in constraints)
        self._certain = _bits(
            c.subject_for is None and not c.subject_except and c.network == "any"
            for c in constraints
        )
        self._deny_otherwise = _bits(c.otherwise == "deny" for c in constraints)
        self._allow_otherwise = _bits(c.otherwise == "allow" for c in constraints)
        self._coverage = Coverage(constraints)
        self._addresses = address_classes(constraints).classes
        self._classes: dict[tuple[Kind, int, int], tuple[EndpointClass, ...]] = {}
        self._reached: dict[tuple[int, EndpointClass], bool] = {}
        self._sorted: dict[tuple[str, Kind], list[Run]] = {}
        for protocol, runs in port_runs(constraints).items():
            for run in self._runs(protocol, runs):
                self._sorted.setdefault((protocol, run.kind), []).append(run)

    @property
    def classes(self) -> list[EndpointClass]:
        """All endpoint classes, each once, those of ports asked for by number first."""
        found = {one: None for group in self._classes.values() for one in group}
        return sorted(found, key=lambda one: not one.numbered)

    @cached_property
    def reached(self) -> int:
        """The constraints that reach any endpoint class."""
        return self.reaching(self.classes)

    def reaching(self, classes: Iterable[EndpointClass]) -> int:
        """Return the constraints that reach any of these classes, as a bitmap."""
        pending = (1 << len(self.policy.constraints)) - 1
        found = 0
        for one in classes:
            for number in bits_of(one.speak & pending):
                if self.reaches(number, one):
                    found |= 1 << number
            pending &= ~found
            if not pending:
                break
        return found

    def applies_to_nobody(self, number: int) -> bool:
        """Return whether `except` takes back all that `for` means."""
        return not self._coverage.alternatives[number]

    def runs_in(self, item: PortRange, kind: Kind) -> Iterator[Run]:
        """Yield the runs of one kind that a range of a list is about."""
        for protocol in PROTOCOLS if item.protocol is None else (item.protocol,):
            runs = self._sorted[protocol, kind]
            first = bisect_left(runs, item.first, key=_last_port)
            for run in islice(runs, first, None):
                if run.first > item.last:
                    break
                yield run

    def reaches(self, number: int, one: EndpointClass) -> bool:
        """Return whether constraint `number` ends a reading for some subject there.

        False is certain; True holds as far as selectors can be told to hold one another.
        """
        key = (number, one)
        known = self._reached.get(key)
        if known is None:
            known = self._reached[key] = self._reaches(number, one)
        return known

    def decided_before(self, number: int, classes: Iterable[EndpointClass]) -> list[Constraint]:
        """Return those who speak first, of these classes, for all whom a constraint means."""
        found = {
            self._coverer(self._earlier(number, one), number, who)
            for one in classes
            if one.speak >> number & 1
            for who in self._coverage.alternatives[number]
        }
        constraints = self.policy.constraints
        return [constraints[other] for other in sorted(x for x in found if x is not None)]

    def _reaches(self, number: int, one: EndpointClass) -> bool:
        if not one.speak >> number & 1:
            return False
        earlier = self._earlier(number, one)
        if earlier & self._certain:
            return False
        return any(
            self._coverer(earlier, number, who) is None
            for who in self._coverage.alternatives[number]
        )

    def _earlier(self, number: int, one: EndpointClass) -> int:
        """Those before a constraint that would end the reading in which it speaks."""
        earlier = one.speak & ((1 << number) - 1)
        return earlier & self._enforced if self._enforced >> number & 1 else earlier

    def _coverer(self, earlier: int, number: int, who: Selector) -> int | None:
        """The first of those that applies to all whom `who` means."""
        for other in bits_of(earlier & (self._certain | self._coverage.candidates(who))):
            if self._certain >> other & 1 or self._coverage.covers(other, number, who):
                return other
        return None

    def _runs(self, protocol: str, runs: list[tuple[int, int, int]]) -> Iterator[Run]:
        _, deny_0, allow_0 = runs[0]
        yield Run(protocol, 0, 0, "ephemeral", self._group("ephemeral", deny_0, allow_0))
        ends = [first for first, _, _ in runs[2:]] + [PORTS]
        for (first, deny, allow), end in zip(runs[1:], ends, strict=True):
            last = end - 1
            yield Run(protocol, first, last, "numbered", self._group("numbered", deny, allow))
            group = self._group("picked", deny | deny_0, allow | allow_0)
            yield Run(protocol, first, last, "picked", group)

    def _group(self, kind: Kind, deny: int, allow: int) -> tuple[EndpointClass, ...]:
        key = (kind, deny, allow)
        known = self._classes.get(key)
        if known is None:
            known = self._classes[key] = tuple(
                self._class(kind, deny & near, allow & exposed) for near, exposed in self._addresses
            )
        return known

    def _class(self, kind: Kind, deny: int, allow: int) -> EndpointClass:
        allow &= ~deny
        if kind == "numbered":
            speak = deny | allow | self._deny_otherwise | self._allow_otherwise
            return EndpointClass(deny, allow, speak, True)
        if kind == "picked":
            allow &= (1 << deny.bit_length()) - 1
        return EndpointClass(deny, allow, deny | allow, False)


def _last_port(run: Run) -> int:
    return run.last


def bits_of(bitmap: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the lowest first."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest


def _bits(flags: Iterator[bool]) -> int:
    return sum(1 << number for number, flag in enumerate(flags) if flag)
