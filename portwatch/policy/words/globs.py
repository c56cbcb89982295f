"""Globs over names and over cgroup paths.

A path pattern matches a cgroup when it matches the path or that of an ancestor: nesting
cgroups does not lead out of a constraint. Matching takes time linear in name × pattern,
whatever the name: workloads may choose their own cgroup names.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\[]")


def is_glob(pattern: str) -> bool:
    """Return whether `pattern` has glob characters; one without is taken literally."""
    return _SPECIAL.search(pattern) is not None


def literal_prefix(pattern: str) -> str:
    """Return what every match of `pattern` begins with."""
    found = _SPECIAL.search(pattern)
    return pattern[: found.start()] if found else pattern


def match_name(pattern: str, name: str) -> bool:
    """Return whether the glob matches all of `name`."""
    return _name_matcher(pattern)(name)


def match_path(pattern: str, path: str) -> bool:
    """Return whether the path glob matches the cgroup `path` or one of its ancestors."""
    return PathGlob.of(pattern).matches(components(path))


def components(path: str) -> tuple[str, ...]:
    """Split a cgroup path; the root has none."""
    return tuple(part for part in path.split("/") if part)


class PathGlob:
    """A path pattern, cut at its `**`: runs of components that must follow one another."""

    def __init__(self, pattern: str) -> None:
        self._runs: list[list[Callable[[str], bool]]] = [[]]
        for part in components(pattern):
            if part == "**":
                self._runs.append([])
            else:
                self._runs[-1].append(_name_matcher(part))

    @staticmethod
    @lru_cache(4096)
    def of(pattern: str) -> PathGlob:
        """Return the pattern, parsed once."""
        return PathGlob(pattern)

    def matches(self, parts: tuple[str, ...]) -> bool:
        """Return whether the pattern matches these components or the first few of them."""
        # Each run may take the earliest place it fits: what follows `**` only gains by that.
        begin = 0
        for number, run in enumerate(self._runs):
            last = len(parts) - len(run) if number else 0
            for start in range(begin, last + 1):
                if _follows(run, parts, start):
                    begin = start + len(run)
                    break
            else:
                return False
        return True


def canonical_path(pattern: str) -> str:
    """Return the shortest pattern that means the same: no trailing `/` or `/**`, "/" for all."""
    parts = list(components(pattern))
    while parts and parts[-1] == "**":
        parts.pop()
    return "/" + "/".join(parts)


def _follows(run: list[Callable[[str], bool]], parts: tuple[str, ...], start: int) -> bool:
    if start + len(run) > len(parts):
        return False
    return all(match(parts[start + number]) for number, match in enumerate(run))


@lru_cache(4096)
def _name_matcher(pattern: str) -> Callable[[str], bool]:
    if not is_glob(pattern):
        return pattern.__eq__
    # fnmatch(3) negates with `^` as with `!`; Python's only with `!`. Its translation
    # of `*` does not backtrack (CPython issue 40480).
    matcher = re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
    return lambda name: matcher(name) is not None
