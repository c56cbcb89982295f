"""What changes between two policies: by meaning, not by text.

Every bind whose outcome changes lies in a region, and every bind of a region changes as it says.
Not compared are the reason that is told, and which constraint allowed what both allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from operator import eq

from portwatch.policy.decide import decide
from portwatch.policy.difference.cells import Cell, least
from portwatch.policy.difference.effort import QUICK, Effort
from portwatch.policy.difference.endpoints import Area, EndpointSpace
from portwatch.policy.difference.predicates import HOST, Predicates, bit_numbers
from portwatch.policy.difference.readings import Alike, Pair, Readings
from portwatch.policy.difference.rule import Who
from portwatch.policy.difference.rules import ranked, rules_of
from portwatch.policy.difference.speakers import Speakers
from portwatch.policy.difference.words import Undecided
from portwatch.policy.difference.workloads import SubjectSet
from portwatch.policy.model import Policy
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.compile import Accounts
from portwatch.policy.tables.lookups import VERDICTS
from portwatch.policy.tables.outcomes import Outcome
from portwatch.policy.workload import Selector, Subject

MAX_LITERALS = 32
"""By how many predicates a set of subjects may be told to be made simpler."""


@dataclass(frozen=True, slots=True)
class Region:
    """Subjects and endpoints whose outcome changes alike: any of `subjects` at any of `areas`.

    `example` is a bind on which decide() gives just these outcomes; None where it was too hard
    to find one, and there may be none. `declared`: whether it is about ports that the pod which
    binds declares, or about those that it does not; None: about both.
    """

    old: Outcome
    new: Outcome
    subjects: tuple[SubjectSet, ...]
    areas: tuple[Area, ...]
    example: tuple[Subject, Endpoint] | None
    endpoints: int
    declared: bool | None = None

    @property
    def changes_verdict(self) -> bool:
        """Whether more than the constraint or the errno changes."""
        return self.old.verdict != self.new.verdict


class Difference:
    """The regions of two policies, those whose verdict changes first; none where the policies
    decide alike everywhere. `accounts` tells which account names belong to one id: any other
    name is taken to have an id of its own, which may be any. Where not `is_complete`, there are
    more regions than `effort` was enough for.
    """

    def __init__(
        self, old: Policy, new: Policy, accounts: Accounts, effort: Effort = QUICK
    ) -> None:
        self.is_complete = self.has_all_verdicts = True
        self._policies = (old, new)
        self._effort = effort
        self._predicates = Predicates(accounts, effort.looks)
        self._space = EndpointSpace(self._policies)
        speeches = self._space.speeches
        cut = len(old.constraints) + 1
        sides = (
            rules_of(old, speeches[:cut], self._predicates),
            rules_of(new, speeches[cut:], self._predicates),
        )
        self._rules, self._changed = ranked(sides)
        self._speakers = tuple(Speakers(rules) for rules in self._rules)
        self._readings = Readings(self._rules, self._changed, self._predicates)
        regions = self._regions(self._simpler(self._cells()))
        self.regions = tuple(sorted(regions, key=order))

    def region_of(self, subject: Subject, endpoint: Endpoint) -> Region | None:
        """Return the region that a bind lies in, None where its outcome does not change."""
        bit = self._space.bit_of(endpoint)
        for region in self.regions:
            if region.endpoints & bit and any(who.holds(subject) for who in region.subjects):
                return region
        return None

    def _cells(self) -> dict[Cell, int]:
        """Return who changes how, and at which endpoints: first where the verdict changes."""
        cells = self._cells_not(_same_verdict, {})
        self.has_all_verdicts = self.is_complete
        if self.is_complete:
            cells |= self._cells_not(eq, cells)
        return cells

    def _cells_not(self, alike: Alike, known: Mapping[Cell, int]) -> dict[Cell, int]:
        """Return those where the outcomes are not alike, with `known` as many as are looked for."""
        cells: dict[Cell, int] = {}
        readings = self._readings
        last = readings.steps + self._effort.steps
        for endpoints, listening in ((self._space.plain, False), (self._space.listening, True)):
            seen: dict[int, int] = {}
            suspects = self._suspects(endpoints)
            share = max(self._effort.steps // len(suspects), self._effort.least_steps)
            for holding, some in suspects.items():
                if len(known) + len(cells) >= self._effort.cells or readings.steps >= last:
                    self.is_complete = False
                    return cells
                readings.limit = min(last, readings.steps + share)
                leaves = readings.leaves(some, readings.who(holding, 0), listening, seen, alike)
                try:
                    for found, whom, outcomes, _ in leaves:
                        failing = whom.failing & ~whom.excluded
                        if not outcomes or (known and not _same_verdict(*outcomes)):
                            continue
                        if self._exist(whom.holding, failing):
                            cell = Cell(whom.holding, failing, outcomes)
                            cells[cell] = cells.get(cell, 0) | found
                except Undecided:
                    self.is_complete = False
                seen[holding] = some
        return cells

    def _suspects(self, endpoints: int) -> dict[int, int]:
        """Return those of the endpoints that may change for subjects for which a predicate holds,
        0 for everyone: only where a rule applies that not both policies have."""
        suspects: dict[int, int] = {0: 0}
        rules = sorted((*self._rules[0], *self._rules[1]), key=lambda rule: rule.rank)
        for rule in rules:
            changed = self._changed[rule.rank] & endpoints
            if changed and rule.who is None:
                suspects[0] |= changed
            elif changed:
                for number in bit_numbers(rule.who or 0):
                    suspects[1 << number] = suspects.get(1 << number, 0) | changed
        of_all = suspects[0]
        return {0: of_all} | {who: some & ~of_all for who, some in suspects.items() if who}

    def _exist(self, holding: int, failing: int) -> bool:
        try:
            return self._predicates.example(holding, failing) is not None
        except Undecided:
            return True

    def _any_exist(self, who: Who, settled: int) -> bool:
        """Return whether there is one of these subjects; of those `settled`, if any are."""
        if not settled:
            return self._exist(who.holding, who.failing)
        return any(
            self._exist(who.holding | 1 << number, who.failing) for number in bit_numbers(settled)
        )

    def _simpler(self, cells: dict[Cell, int]) -> dict[Cell, int]:
        """Return the cells with every predicate left out that makes no difference."""
        found: dict[Pair, dict[Cell, int]] = {}
        self._readings.limit = self._readings.steps + self._effort.steps
        for cell, endpoints in sorted(cells.items(), key=lambda item: item[0].size):
            known = found.setdefault(cell.outcomes, {})
            for other, covered in known.items():
                if other.covers(cell):
                    endpoints &= ~covered
            if endpoints:
                wider = self._widened(cell, endpoints) if cell.size <= MAX_LITERALS else cell
                known[wider] = known.get(wider, 0) | endpoints
        return {
            cell: endpoints for known in found.values() for cell, endpoints in least(known).items()
        }

    def _widened(self, cell: Cell, endpoints: int) -> Cell:
        for number in (*bit_numbers(cell.failing), *bit_numbers(cell.holding)):
            bit = 1 << number
            beyond = Cell(cell.holding ^ bit, cell.failing ^ bit, cell.outcomes)
            if self._is_uniform(beyond, endpoints):
                cell = Cell(cell.holding & ~bit, cell.failing & ~bit, cell.outcomes)
        return cell

    def _is_refuted(self, cell: Cell, endpoints: int) -> bool:
        """Return whether a subject of a cell at one of the endpoints changes in another way."""
        try:
            subject = self._predicates.example(cell.holding, cell.failing)
        except Undecided:
            return False
        if subject is None:
            return False
        held, endpoint = self._predicates.hold(subject), endpoints & -endpoints
        old, new = (
            [rules[number] for number in speakers.at(endpoint, held)]
            for rules, speakers in zip(self._rules, self._speakers, strict=True)
        )
        listening = bool(endpoint & self._space.listening)
        return self._readings.outcomes(endpoint, held, (old, new), listening) != cell.outcomes

    def _is_uniform(self, cell: Cell, endpoints: int) -> bool:
        """Return whether all subjects of a cell, if any, change as it says."""
        if not self._exist(cell.holding, cell.failing):
            return True
        try:
            return not self._is_refuted(cell, endpoints) and self._all_change(cell, endpoints)
        except Undecided:
            return False

    def _all_change(self, cell: Cell, endpoints: int) -> bool:
        who = self._readings.who(cell.holding, cell.failing)
        return all(
            outcomes == cell.outcomes or not self._any_exist(whom, settled)
            for some, listening in (
                (endpoints & self._space.plain, False),
                (endpoints & self._space.listening, True),
            )
            for _, whom, outcomes, settled in self._readings.leaves(some, who, listening)
        )

    def _regions(self, cells: dict[Cell, int]) -> Iterator[Region]:
        together: dict[tuple[Pair, int], list[Cell]] = {}
        for cell, endpoints in cells.items():
            together.setdefault((cell.outcomes, endpoints), []).append(cell)
        for ((old, new), endpoints), some in together.items():
            areas = self._space.areas(endpoints)
            subjects = tuple(self._subjects(cell) for cell in some)
            yield Region(old, new, subjects, areas, self._example(some, areas[0]), endpoints)

    def _subjects(self, cell: Cell) -> SubjectSet:
        both = cell.holding | cell.failing
        host_network = bool(cell.holding & HOST) if both & HOST else None
        return SubjectSet(
            self._selectors(cell.holding), self._selectors(cell.failing), host_network
        )

    def _selectors(self, bits: int) -> tuple[Selector, ...]:
        found = (self._predicates.selectors[number] for number in bit_numbers(bits))
        return tuple(selector for selector in found if selector is not None)

    def _example(self, cells: list[Cell], area: Area) -> tuple[Subject, Endpoint] | None:
        """Return a bind that decide() judges as the cells say."""
        endpoint = self._space.example(area)
        for cell in cells:
            try:
                subject = self._predicates.example(cell.holding, cell.failing)
            except Undecided:
                continue
            if subject and self._outcomes(subject, endpoint) == cell.outcomes:
                return subject, endpoint
        return None

    def _outcomes(self, subject: Subject, endpoint: Endpoint) -> Pair:
        """Return what decide() says, of the constraints that apply and speak: the others have no
        say, and there may be a thousand of them."""
        held, bit = self._predicates.hold(subject), self._space.bit_of(endpoint)
        found = []
        for policy, speakers in zip(self._policies, self._speakers, strict=True):
            speaking = [n for n in speakers.at(bit, held) if n < len(policy.constraints)]
            constraints = tuple(policy.constraints[n] for n in speaking)
            found.append(_outcome(replace(policy, constraints=constraints), subject, endpoint))
        return found[0], found[1]


def _same_verdict(one: Outcome, other: Outcome) -> bool:
    return one.verdict == other.verdict


def _outcome(policy: Policy, subject: Subject, endpoint: Endpoint) -> Outcome:
    decision = decide(policy, subject, endpoint)
    verdict = VERDICTS.index(decision.verdict)
    return Outcome(verdict, decision.constraint if verdict else None, decision.errno)


def order(region: Region) -> tuple[object, ...]:
    """Return what regions are sorted by: what changes a bind's verdict comes first, and simple
    workloads before combined ones."""
    first = min(region.subjects, key=lambda who: len(who.matching) + len(who.failing))
    return (
        not region.changes_verdict,
        region.areas[0].kind == "listening",
        region.new.verdict,
        region.old.verdict,
        len(first.matching),
        first.text(),
        region.areas[0].ports,
    )
