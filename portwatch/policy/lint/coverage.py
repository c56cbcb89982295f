"""Which constraints apply to all whom a selector of another one means, for many at once."""

from __future__ import annotations

from portwatch.policy.model import Constraint
from portwatch.policy.selector_relations import alternatives, covers
from portwatch.policy.tables.subject_classes import NameIndex, PathIndex
from portwatch.policy.words.glob_relations import example
from portwatch.policy.words.globs import components
from portwatch.policy.workload import SELECTOR_KEYS, Selector


class Coverage:
    """Answers for the constraints of one policy, by number; each question is worked out once."""

    def __init__(self, constraints: tuple[Constraint, ...]) -> None:
        self._constraints = constraints
        self.alternatives = [alternatives(constraint) for constraint in constraints]
        self._general = 0
        self._names = {key: NameIndex() for key in SELECTOR_KEYS if key != "cgroup"}
        self._paths = PathIndex()
        for number, constraint in enumerate(constraints):
            if constraint.subject_for is None:
                self._general |= 1 << number
            for selector in constraint.subject_for or ():
                self._add(selector, 1 << number)
        self._candidates: dict[Selector, int] = {}
        self._known: dict[tuple[int, int, Selector], bool] = {}

    def candidates(self, who: Selector) -> int:
        """Return a bitmap that holds all constraints that may cover the selector."""
        known = self._candidates.get(who)
        if known is None:
            known = self._general
            for key in who.given_keys:
                known |= self._meaning(key, str(getattr(who, key)[0]))
            self._candidates[who] = known
        return known

    def covers(self, other: int, number: int, who: Selector) -> bool:
        """Return whether constraint `other` applies to all whom `number` means by `who`."""
        key = (other, number, who)
        known = self._known.get(key)
        if known is None:
            known = covers(self._constraints[other], self._constraints[number], who)
            self._known[key] = known
        return known

    def _add(self, selector: Selector, bit: int) -> None:
        """Under one key: whatever implies a selector has that key, and names that it matches."""
        key = selector.given_keys[0]
        if key == "pod_labels":  # one selector may hold what another means with no word in common
            self._general |= bit
            return
        for pattern in getattr(selector, key):
            if key == "cgroup":
                self._paths.add(pattern, bit)
            else:
                self._names[key].add(str(pattern), bit)

    def _meaning(self, key: str, pattern: str) -> int:
        """Those added that match what is an example of a pattern."""
        if key != "cgroup":
            return self._names[key].match(example(pattern))
        parts = (example(part) for part in components(pattern) if part != "**")
        return self._paths.match("/" + "/".join(parts)) | self._paths.match(pattern)
