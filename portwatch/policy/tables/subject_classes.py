"""Who a subject is, as bits: one per distinct predicate over cgroups, users and groups.

Cgroups are an open set, so a cgroup's bits are worked out when it is met; users and groups
are known ahead, and those that no predicate tells apart share a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from portwatch.policy.words.containers import is_id_prefix
from portwatch.policy.words.globs import (
    PathGlob,
    canonical_path,
    components,
    is_glob,
    literal_prefix,
    match_name,
)
from portwatch.policy.words.labels import labels_of, match_labels, parse_selector
from portwatch.policy.workload import (
    CGROUP_KEYS,
    OF_API_SERVER,
    OF_ENGINES,
    WITNESSES,
    KnownContainer,
    Selector,
    names_of,
)

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


class LabelIndex:
    """Many label selectors, matched at once: by a value that they ask for, the rest in turn."""

    def __init__(self) -> None:
        self._by_value: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self._others: list[tuple[str, int]] = []
        self._memo: dict[str, int] = {}

    def add(self, pattern: str, bit: int) -> None:
        """Set `bit` in the bitmap of all labels that the selector `pattern` means."""
        wanted = next((one for one in parse_selector(pattern) if one.operator == "In"), None)
        if wanted is None:
            self._others.append((pattern, bit))
            return
        for value in wanted.values:
            self._by_value.setdefault((wanted.key, value), []).append((pattern, bit))

    def match(self, labels: str) -> int:
        """Return the bits of all selectors that mean these labels."""
        known = self._memo.get(labels)
        if known is not None:
            return known
        likely = (self._by_value.get(pair, ()) for pair in labels_of(labels).items())
        bits = 0
        for pattern, bit in (*self._others, *chain.from_iterable(likely)):
            bits |= bit if match_labels(pattern, labels) else 0
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.clear()
        self._memo[labels] = bits
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
    """A selector as masks: of each, one of its bits has to be the subject's."""

    cgroup: tuple[int, ...]
    user: int
    group: int

    def matches(self, cgroup_bits: int, user_bits: int, group_bits: int) -> bool:
        """Return whether a subject with these bits is meant."""
        return (
            self.matches_cgroup(cgroup_bits)
            and (not self.user or bool(self.user & user_bits))
            and (not self.group or bool(self.group & group_bits))
        )

    def matches_cgroup(self, cgroup_bits: int) -> bool:
        """Return whether the cgroup is meant, whoever is in it."""
        return all(mask & cgroup_bits for mask in self.cgroup)


class CgroupPredicates:
    """The predicates over cgroups of all selectors: one bit for each pattern of each key, and
    another where the selector goes by what is claimed too.
    """

    def __init__(self) -> None:
        self._bits: dict[tuple[str, bool, str], int] = {}
        self._names: dict[tuple[str, bool], NameIndex | LabelIndex] = {}
        self._paths = PathIndex()
        self._memo: dict[tuple[str, KnownContainer | None], int] = {}

    @property
    def uses_any(self) -> bool:
        """Whether it matters at all which cgroup a task is in."""
        return bool(self._bits)

    @property
    def bit_count(self) -> int:
        """How many predicates there are."""
        return len(self._bits)

    @property
    def uses_engines(self) -> bool:
        """Whether it matters what the engine says of a container."""
        return any(key in OF_ENGINES for key, _, _ in self._bits)

    @property
    def uses_pods(self) -> bool:
        """Whether it matters what the API server says of a pod."""
        return any(key in OF_API_SERVER for key, _, _ in self._bits)

    def masks(self, selector: Selector) -> tuple[int, ...]:
        """Return a mask for each key of a selector."""
        return tuple(self._mask(selector, key) for key in selector.given_keys if key in CGROUP_KEYS)

    def match(self, path: str, container: KnownContainer | None) -> int:
        """Return the bits that a cgroup has."""
        if not self._bits:
            return 0
        known = self._memo.get((path, container))
        if known is not None:
            return known
        bits = self._paths.match(path)
        if self._names:
            names = names_of(path, container)
            for (key, with_claims), index in self._names.items():
                for name in names[key].seen_by(with_claims):
                    bits |= index.match(name)
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.clear()
        self._memo[path, container] = bits
        return bits

    def _mask(self, selector: Selector, key: str) -> int:
        with_claims = key in WITNESSES and selector.counts_claims(key)
        mask = 0
        for pattern in getattr(selector, key):
            bit = self._bits.get((key, with_claims, pattern))
            if bit is None:
                bit = self._bits[key, with_claims, pattern] = 1 << len(self._bits)
                self._add(key, with_claims, pattern, bit)
            mask |= bit
        return mask

    def _add(self, key: str, with_claims: bool, pattern: str, bit: int) -> None:
        if key == "cgroup":
            self._paths.add(pattern, bit)
            return
        index = LabelIndex() if key == "pod_labels" else NameIndex()
        self._names.setdefault((key, with_claims), index).add(pattern, bit)
        if key == "container" and is_id_prefix(pattern):
            self._names.setdefault(("id", with_claims), NameIndex()).add(f"{pattern}*", bit)


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
        predicates: dict[str, dict[str | int, int]] = {"user": {}, "group": {}}
        self._cgroups = CgroupPredicates()
        self._by_selector: dict[Selector, SelectorBits] = {}
        for selector in selectors:
            if selector in self._by_selector:
                continue
            masks = {}
            for key, known in predicates.items():
                bits = [known.setdefault(word, 1 << len(known)) for word in getattr(selector, key)]
                masks[key] = sum(set(bits))
            self._by_selector[selector] = SelectorBits(self._cgroups.masks(selector), **masks)
        self.users = AccountClasses(predicates["user"], users)
        self.groups = AccountClasses(predicates["group"], groups)
        self.uses_cgroups = self._cgroups.uses_any
        self.uses_engines = self._cgroups.uses_engines
        self.uses_pods = self._cgroups.uses_pods
        self.uses_users = bool(predicates["user"])
        self.uses_groups = bool(predicates["group"])

    def bits_of(self, selector: Selector) -> SelectorBits:
        """Return a selector of the policy as masks."""
        return self._by_selector[selector]

    @property
    def cgroup_bit_count(self) -> int:
        """How many bits cgroup_bits() may have."""
        return self._cgroups.bit_count

    def cgroup_bits(self, path: str, container: KnownContainer | None) -> int:
        """Return the bits of the predicates that hold for a cgroup; bounded memo."""
        return self._cgroups.match(path, container)
