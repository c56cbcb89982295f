"""Which patterns of one selector key exclude or imply one another, read off the patterns."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.policy.tables.endpoint_classes import sum_bits
from portwatch.policy.words.containers import is_id_prefix
from portwatch.policy.words.globs import (
    canonical_path,
    components,
    is_glob,
    literal_prefix,
    match_name,
    match_path,
)
from portwatch.policy.words.labels import labels_disjoint, labels_include
from portwatch.policy.workload import WITNESSES, Selector

_SEVERAL = ("slice", "image")
"""The keys under which a task has several names at once."""


class KeyIndex:
    """The predicates that have one key, as bits. `shared`: account names that are not alone."""

    def __init__(self, key: str, shared: frozenset[str]) -> None:
        self.having = 0
        self._key = key
        self._shared = shared
        self._literals: dict[str | int, int] = {}
        self._globs: dict[str, int] = {}
        self._below: dict[str, int] = {}  # path → literal paths at or below it
        self._claims = self._exclusive = self._numbers = 0

    def add(self, bit: int, selector: Selector) -> None:
        """Add a predicate that has the key."""
        self.having |= bit
        if self._counts_claims(selector):
            self._claims |= bit
        pattern = self._pattern(selector)
        if pattern is None:
            return
        if isinstance(pattern, str) and is_glob(pattern):
            self._globs[pattern] = self._globs.get(pattern, 0) | bit
            return
        self._literals[pattern] = self._literals.get(pattern, 0) | bit
        if isinstance(pattern, int):
            self._numbers |= bit
        elif self._key == "cgroup":
            for path in _ancestors(pattern):
                self._below[path] = self._below.get(path, 0) | bit
            self._exclusive |= bit
        elif self._is_alone(pattern):
            self._exclusive |= bit

    def relation(self, selector: Selector) -> tuple[int, int]:
        """Return those that cannot hold where `selector` does, and those that then have to, as
        far as this key goes."""
        pattern = self._pattern(selector)
        if pattern is None:
            return 0, 0
        meets = self._met_by(pattern)
        claims = self._counts_claims(selector)
        return self._excluded(pattern, claims, meets), meets & self._claims if claims else meets

    def _met_by(self, pattern: str | int) -> int:
        """Return those that whatever is meant by `pattern` matches."""
        if isinstance(pattern, int):
            return self._literals.get(pattern, 0)
        if is_glob(pattern):
            return self._globs.get(pattern, 0)
        same = self._literals.get(pattern, 0)
        if self._key == "pod_labels":
            return same | sum_bits(
                bits
                for other, bits in self._literals.items()
                if labels_include(str(other), pattern)
            )
        if self._key == "cgroup":
            for path in _ancestors(pattern):
                same |= self._literals.get(path, 0)
        elif self._is_id(pattern):
            return same
        match = match_path if self._key == "cgroup" else match_name
        return same | sum_bits(bits for glob, bits in self._globs.items() if match(glob, pattern))

    def _excluded(self, pattern: str | int, claims: bool, meets: int) -> int:
        if isinstance(pattern, int):
            return self._numbers & ~meets
        if self._key == "pod_labels":
            return sum_bits(
                bits
                for other, bits in self._literals.items()
                if labels_disjoint(str(other), str(pattern))
            )
        if self._key in _SEVERAL or (self._key == "unit" and claims):
            return 0
        literal = not is_glob(pattern)
        if self._key == "cgroup":
            return self._exclusive & ~meets & ~self._below.get(pattern, 0) if literal else 0
        if not literal:
            excluded = self._exclusive & sum_bits(
                bits
                for word, bits in self._literals.items()
                if isinstance(word, str) and not match_name(pattern, word)
            )
            if not self._shared:
                excluded |= sum_bits(
                    bits for glob, bits in self._globs.items() if _begin_apart(glob, pattern)
                )
        elif self._is_alone(pattern):
            globs = sum_bits(self._globs.values())
            excluded = (self._exclusive | globs) & ~meets
        else:
            return 0
        return excluded & ~self._claims if self._key == "unit" else excluded

    def _is_alone(self, name: str) -> bool:
        """Return whether what has this name has no other name under the key."""
        return (
            self._key not in (*_SEVERAL, "pod_labels")
            and not self._is_id(name)
            and name not in self._shared
        )

    def _is_id(self, word: str) -> bool:
        return self._key == "container" and is_id_prefix(word)

    def _counts_claims(self, selector: Selector) -> bool:
        return self._key in WITNESSES and selector.counts_claims(self._key)

    def _pattern(self, selector: Selector) -> str | int | None:
        """Return the one pattern of the key, None where there are none or several."""
        patterns: tuple[str | int, ...] = getattr(selector, self._key)
        if len(patterns) != 1:
            return None
        only = patterns[0]
        return canonical_path(only) if self._key == "cgroup" and isinstance(only, str) else only


def _begin_apart(one: str, other: str) -> bool:
    """Return whether no name can begin as both globs say."""
    length = min(len(literal_prefix(one)), len(literal_prefix(other)))
    return one[:length] != other[:length]


def _ancestors(path: str) -> Iterator[str]:
    """Yield a path and all above it."""
    parts = components(path)
    for count in range(len(parts) + 1):
        yield "/" + "/".join(parts[:count])
