"""Who a subject is, as bits: one per distinct predicate over cgroups, users and groups.

Cgroups are an open set, so a cgroup's bits are worked out when it is met; users and groups
are known ahead, and those that no predicate tells apart share a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portwatch.policy.globs import (
    PathGlob,
    canonical_path,
    components,
    is_glob,
    literal_prefix,
    match_name,
)
from portwatch.policy.systemd import systemd_units
from portwatch.policy.workload import Selector

_CGROUP_KEYS = ("unit", "slice", "cgroup")
_MEMO_LIMIT = 2048


class NameIndex:
    """Many patterns over names, matched at once: literals by hash, globs by their prefix."""

    def __init__(self) -> None:
        self._literals: dict[str, int] = {}
        self._globs: dict[str, list[tuple[str, int]]] = {}
        self._prefix_lengths: tuple[int, ...] = ()
        self._memo: dict[str, int] = {}

    def add(self, pattern: str, bit: int) -> None:
        """Set `bit` in the bitmap of every name that `pattern` matches."""
        if not is_glob(pattern):
            self._literals[pattern] = self._literals.get(pattern, 0) | bit
            return
        self._globs.setdefault(literal_prefix(pattern), []).append((pattern, bit))
        self._prefix_lengths = tuple(sorted({len(prefix) for prefix in self._globs}))

    def match(self, name: str) -> int:
        """Return the bits of all patterns that match `name`."""
        known = self._memo.get(name)
        if known is not None:
            return known
        bits = self._literals.get(name, 0)
        for length in self._prefix_lengths:
            for pattern, bit in self._globs.get(name[:length], ()):
                if match_name(pattern, name):
                    bits |= bit
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.clear()
        self._memo[name] = bits
        return bits


class PathIndex:
    """Many path patterns, matched at once against a cgroup path and its ancestors."""

    def __init__(self) -> None:
        self._literals: dict[str, int] = {}
        self._globs: dict[str, list[tuple[PathGlob, int]]] = {}
        self._prefix_lengths: tuple[int, ...] = ()

    def add(self, pattern: str, bit: int) -> None:
        """Set `bit` in the bitmap of every path that `pattern` matches."""
        pattern = canonical_path(pattern)
        if not is_glob(pattern):
            self._literals[pattern] = self._literals.get(pattern, 0) | bit
            return
        bucket = self._globs.setdefault(literal_prefix(pattern), [])
        bucket.append((PathGlob.of(pattern), bit))
        self._prefix_lengths = tuple(sorted({len(prefix) for prefix in self._globs}))

    def match(self, path: str) -> int:
        """Return the bits of all patterns that match `path` or an ancestor."""
        parts = components(path)
        bits = self._literals.get("/", 0)
        if self._literals:
            ancestor = ""
            for part in parts:
                ancestor += "/" + part
                bits |= self._literals.get(ancestor, 0)
        if self._globs:
            path = "/" + "/".join(parts)
            for length in self._prefix_lengths:
                for glob, bit in self._globs.get(path[:length], ()):
                    if glob.matches(parts):
                        bits |= bit
        return bits


@dataclass(frozen=True, slots=True)
class SelectorBits:
    """A selector as masks: where a mask is not 0, one of its bits has to be the subject's."""

    unit: int
    slice: int
    cgroup: int
    user: int
    group: int

    def matches(self, cgroup_bits: int, user_bits: int, group_bits: int) -> bool:
        """Return whether a subject with these bits is meant."""
        return (
            (not self.unit or bool(self.unit & cgroup_bits))
            and (not self.slice or bool(self.slice & cgroup_bits))
            and (not self.cgroup or bool(self.cgroup & cgroup_bits))
            and (not self.user or bool(self.user & user_bits))
            and (not self.group or bool(self.group & group_bits))
        )


class AccountClasses:
    """The users, or the groups, that a policy tells apart; an id not in `classes` is class 0."""

    def __init__(self, predicates: Mapping[str | int, int], accounts: Mapping[str, int]) -> None:
        by_id: dict[int, int] = {}
        index = NameIndex()
        for pattern, bit in predicates.items():
            if isinstance(pattern, int):
                by_id[pattern] = by_id.get(pattern, 0) | bit
            else:
                index.add(pattern, bit)
        for name, number in accounts.items() if predicates else ():
            bits = index.match(name)
            if bits:
                by_id[number] = by_id.get(number, 0) | bits
        numbers = {0: 0}
        self.classes = {
            number: numbers.setdefault(bits, len(numbers)) for number, bits in by_id.items()
        }
        self.bits = list(numbers)


class SubjectClasses:
    """The predicates of all selectors of a policy, and the selectors as masks over them."""

    def __init__(
        self,
        selectors: Iterable[Selector],
        users: Mapping[str, int],
        groups: Mapping[str, int],
    ) -> None:
        predicates: dict[str, dict[str | int, int]] = {"cgroup": {}, "user": {}, "group": {}}
        self._indexes: dict[str, NameIndex | PathIndex] = {
            "unit": NameIndex(),
            "slice": NameIndex(),
            "cgroup": PathIndex(),
        }
        self._memo: dict[str, int] = {}
        keyed: dict[tuple[str, str], int] = {}
        self._by_selector: dict[Selector, SelectorBits] = {}
        for selector in selectors:
            if selector in self._by_selector:
                continue
            masks = dict.fromkeys((*_CGROUP_KEYS, "user", "group"), 0)
            for key in _CGROUP_KEYS:
                for pattern in getattr(selector, key):
                    bit = keyed.get((key, pattern))
                    if bit is None:
                        bit = keyed[key, pattern] = 1 << len(keyed)
                        self._indexes[key].add(pattern, bit)
                    masks[key] |= bit
            for key in ("user", "group"):
                known = predicates[key]
                for pattern in getattr(selector, key):
                    masks[key] |= known.setdefault(pattern, 1 << len(known))
            self._by_selector[selector] = SelectorBits(**masks)
        self.users = AccountClasses(predicates["user"], users)
        self.groups = AccountClasses(predicates["group"], groups)
        self.uses_cgroups = bool(keyed)
        self.uses_users = bool(predicates["user"])
        self.uses_groups = bool(predicates["group"])
        self._uses_names = any(key != "cgroup" for key, _ in keyed)

    def bits_of(self, selector: Selector) -> SelectorBits:
        """Return a selector of the policy as masks."""
        return self._by_selector[selector]

    def cgroup_bits(self, path: str) -> int:
        """Return the bits of the predicates that hold for a cgroup path; bounded memo."""
        known = self._memo.get(path)
        if known is not None:
            return known
        bits = 0
        if self.uses_cgroups:
            bits = self._indexes["cgroup"].match(path)
            if self._uses_names:
                units, slices = systemd_units(path)
                for unit in units:
                    bits |= self._indexes["unit"].match(unit)
                for name in slices:
                    bits |= self._indexes["slice"].match(name)
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.clear()
        self._memo[path] = bits
        return bits
