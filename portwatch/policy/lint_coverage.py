"""Which constraints apply to all whom a selector of another one means, for many at once."""

from __future__ import annotations

from portwatch.policy.globs import canonical_path, literal_prefix
from portwatch.policy.model import Constraint
from portwatch.policy.selector_relations import alternatives, covers
from portwatch.policy.workload import Selector


class Coverage:
    """Answers for the constraints of one policy, by number; each question is worked out once."""

    def __init__(self, constraints: tuple[Constraint, ...]) -> None:
        self._constraints = constraints
        self.alternatives = [alternatives(constraint) for constraint in constraints]
        self._general = 0
        self._by_prefix: dict[tuple[str, str], int] = {}
        for number, constraint in enumerate(constraints):
            if constraint.subject_for is None:
                self._general |= 1 << number
            for selector in constraint.subject_for or ():
                self._add(selector, 1 << number)
        self._lengths = sorted({len(prefix) for _, prefix in self._by_prefix})
        self._candidates: dict[Selector, int] = {}
        self._known: dict[tuple[int, int, Selector], bool] = {}

    def candidates(self, who: Selector) -> int:
        """Return a bitmap that holds all constraints that may cover the selector."""
        known = self._candidates.get(who)
        if known is None:
            known = self._general
            for key in who.given_keys:
                text = _text(key, getattr(who, key)[0])
                for length in self._lengths:
                    known |= self._by_prefix.get((key, text[:length]), 0)
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
        """Under one key: whatever implies a selector has that key, and the glob's beginning."""
        key = selector.given_keys[0]
        for pattern in getattr(selector, key):
            place = (key, literal_prefix(_text(key, pattern)))
            self._by_prefix[place] = self._by_prefix.get(place, 0) | bit


def _text(key: str, pattern: str | int) -> str:
    return canonical_path(str(pattern)) if key == "cgroup" else str(pattern)
