"""Outcomes, and the two readings over bitmaps: bit i for constraint i, the last for `default`.

`default` is read as one more constraint that applies to everyone, has no lists, and says
`default` otherwise, in the file's mode. The first bit that speaks decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portwatch.policy.model import DEFAULT_NAME, Policy
from portwatch.policy.tables.endpoint_classes import NO_ATOM, Lists
from portwatch.policy.tables.subject_classes import SelectorBits, SubjectClasses

ALLOWED, DENIED, RECORDED = range(3)
LISTED = 1
"""The outcome of a gate (endpoint_classes.Lists) that a list opens: allowed, and by a list."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a bind: 0 allowed, 1 denied, 2 recorded; by which constraint; its errno."""

    verdict: int
    constraint: str | None
    errno: str | None


@dataclass(frozen=True, slots=True)
class _Reach:
    """Which subjects a constraint applies to, as masks; `who` None means everyone."""

    bit: int
    who: tuple[SelectorBits, ...] | None
    but: tuple[SelectorBits, ...]
    host_only: bool


class Judge:
    """Gives outcomes, as indexes into `outcomes`; index 0 is always allowed, 1 is LISTED."""

    def __init__(self, policy: Policy, subjects: SubjectClasses) -> None:
        self.outcomes = [Outcome(ALLOWED, None, None), Outcome(ALLOWED, None, None)]
        self._enforced = self._deny_otherwise = self._allow_otherwise = 0
        self._always = 0
        self._violation: dict[int, int] = {}  # bit length of the speaker's bit → outcome
        self._reaches: list[_Reach] = []
        for number, constraint in enumerate(policy.constraints):
            bit = 1 << number
            enforced = constraint.mode == "enforce"
            self._speaker(number, constraint.name, constraint.errno, enforced)
            self._deny_otherwise |= bit if constraint.otherwise == "deny" else 0
            self._allow_otherwise |= bit if constraint.otherwise == "allow" else 0
            who, but = constraint.subject_for, constraint.subject_except
            if who is None and not but and constraint.network == "any":
                self._always |= bit
                continue
            masks = None if who is None else tuple(map(subjects.bits_of, who))
            excepted = tuple(map(subjects.bits_of, but))
            self._reaches.append(_Reach(bit, masks, excepted, constraint.network == "host"))
        last = len(policy.constraints)
        self._always |= 1 << last
        if policy.default == "deny":
            self._speaker(last, DEFAULT_NAME, policy.errno, policy.mode == "enforce")
            self._deny_otherwise |= 1 << last
        self._workloads = [
            (workload.name, tuple(map(subjects.bits_of, workload.selectors)))
            for workload in policy.workloads
        ]

    def applying(self, cgroup: int, user: int, group: int, host_network: bool) -> int:
        """Return the constraints that apply to a subject, given its bits."""
        bits = self._always
        for reach in self._reaches:
            if reach.host_only and not host_network:
                continue
            if reach.who is not None and not _any(reach.who, cgroup, user, group):
                continue
            if not _any(reach.but, cgroup, user, group):
                bits |= reach.bit
        return bits

    def workload(self, cgroup: int, user: int, group: int) -> str | None:
        """Return the first defined workload that matches a subject, given its bits."""
        for name, selectors in self._workloads:
            if _any(selectors, cgroup, user, group):
                return name
        return None

    def speakers(self, classes: Iterable[Lists]) -> list[tuple[int, int, int]]:
        """Return for each endpoint class the constraints that speak of it, those that deny it,
        and the outcome where one allows it."""
        return [(*self._speakers_of(lists), LISTED if lists.gate else ALLOWED) for lists in classes]

    def speakers_where_declared(
        self, classes: Iterable[Lists]
    ) -> list[tuple[int, int, tuple[int, int, int]]]:
        """Return the number of each endpoint class that is another one for pods which declare its
        port, the atom, and the speakers for these."""
        return [
            (number, lists.atom, (*self._speakers_of(lists.declared()), ALLOWED))
            for number, lists in enumerate(classes)
            if lists.atom != NO_ATOM
        ]

    def row(self, applying: int, speakers: Iterable[tuple[int, int, int]]) -> Iterator[int]:
        """Yield the outcome index of each endpoint class for a subject."""
        enforced = self._enforced
        violation = self._violation
        for speak, deny, spoken_for in speakers:
            would_be = speak & applying
            first = would_be & -would_be
            real = would_be & enforced
            really = real & -real
            if really & deny:
                yield violation[really.bit_length()]
            elif first & deny:
                yield violation[first.bit_length()]
            else:
                yield spoken_for if first else ALLOWED

    def uniform(self, lists: Lists) -> int:
        """Return the outcome that every subject gets, 0xFFFF where there may be several.

        Of a port that pods declare: the same for those that do and for all others.

        Any constraint that does not apply to everyone may apply or not, independently: sound,
        if blind to selectors that exclude one another.
        """
        if lists.atom != NO_ATOM:
            others, theirs = self.uniform(lists._replace(atom=NO_ATOM)), lists.declared()
            return others if others == self.uniform(theirs) else 0xFFFF
        speak, deny = self._speakers_of(lists)
        if lists.gate:
            return 0xFFFF if speak else ALLOWED
        real = self._first_speakers(speak & self._enforced)
        would_be = self._first_speakers(speak)
        if not (real | would_be) & deny:
            return ALLOWED
        decided = real if real & deny else would_be
        # One speaker, which no subject escapes; and no denial of the real reading beside it.
        if decided & (decided - 1) == 0 and decided & self._always:
            return self._violation[decided.bit_length()]
        return 0xFFFF

    def _first_speakers(self, speak: int) -> int:
        """Return the constraints that can be the first to speak to some subject."""
        certain = speak & self._always
        if not certain:
            return speak
        first = certain & -certain
        return speak & (first | first - 1)

    def _speakers_of(self, lists: Lists) -> tuple[int, int]:
        if not lists.numbered:
            return lists.deny | lists.allow, lists.deny
        deny = lists.deny | self._deny_otherwise & ~lists.allow
        return deny | lists.allow | self._allow_otherwise, deny

    def _speaker(self, number: int, name: str, errno: str, enforced: bool) -> None:
        """Give a constraint the one violation it can have: denied where enforced, else recorded."""
        self._violation[number + 1] = len(self.outcomes)
        self.outcomes.append(Outcome(DENIED if enforced else RECORDED, name, errno))
        if enforced:
            self._enforced |= 1 << number


def _any(selectors: tuple[SelectorBits, ...], cgroup: int, user: int, group: int) -> bool:
    return any(selector.matches(cgroup, user, group) for selector in selectors)
