"""Which of very many predicates hold for a subject, without asking each of them."""

from __future__ import annotations

from portwatch.policy.tables.subject_classes import CgroupPredicates, NameIndex
from portwatch.policy.workload import Selector, Subject


class Matching:
    """Predicates, each a bit and a selector. Those with lists of patterns are asked one by one."""

    def __init__(self) -> None:
        self._cgroups = CgroupPredicates()
        self._users, self._groups = _AccountIndex(), _AccountIndex()
        self._with_lists: list[tuple[int, Selector]] = []
        self._by_pattern: dict[int, list[tuple[int, int]]] = {}
        self._of_any_cgroup = 0

    def add(self, bit: int, selector: Selector) -> None:
        """Add a predicate."""
        if any(len(getattr(selector, key)) > 1 for key in selector.given_keys):
            self._with_lists.append((bit, selector))
            return
        self._users.add(bit, selector.user)
        self._groups.add(bit, selector.group)
        masks = self._cgroups.masks(selector)
        if masks:
            self._by_pattern.setdefault(masks[0], []).append((sum(set(masks)), bit))
        else:
            self._of_any_cgroup |= bit

    def holding(self, subject: Subject) -> int:
        """Return the bits of those that hold."""
        found = self._of_any_cgroup
        met = self._cgroups.match(subject.cgroup, subject.container)
        left = met
        while left:
            low = left & -left
            left ^= low
            for needed, bit in self._by_pattern.get(low, ()):
                found |= bit if needed & met == needed else 0
        found &= self._users.fitting(subject.uid, (subject.user, *subject.user_aliases))
        found &= self._groups.fitting(subject.gid, (subject.group, *subject.group_aliases))
        for bit, selector in self._with_lists:
            found |= bit if selector.matches(subject) else 0
        return found


class _AccountIndex:
    """The predicates by what they ask of the user, or of the group."""

    def __init__(self) -> None:
        self._by_name = NameIndex()
        self._by_number: dict[int, int] = {}
        self._asking = 0

    def add(self, bit: int, patterns: tuple[str | int, ...]) -> None:
        for pattern in patterns:
            self._asking |= bit
            if isinstance(pattern, int):
                self._by_number[pattern] = self._by_number.get(pattern, 0) | bit
            else:
                self._by_name.add(pattern, bit)

    def fitting(self, number: int, names: tuple[str | None, ...]) -> int:
        """Return all but those that ask for another account."""
        met = self._by_number.get(number, 0)
        for name in names:
            met |= self._by_name.match(name) if name is not None else 0
        return ~self._asking | met
