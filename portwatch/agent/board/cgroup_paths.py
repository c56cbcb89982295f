"""The paths of cgroups by their ids, looked for again only when there is a new one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from portwatch.node.cgroups import CgroupTree

LEAST_PAUSE_SECONDS = 0.5
PAUSE_PER_SCAN = 100  # times as long as a scan takes: 1 % of a core at most


class CgroupPaths:
    """Remembers the paths of cgroups that are gone for as long as somebody asks for them."""

    def __init__(self, tree: CgroupTree) -> None:
        self._tree = tree
        self._known: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._gone: set[int] = set()
        self._due = 0.0

    def find(self, wanted: set[int]) -> dict[int, str]:
        """Id → path, of those wanted that were ever seen, and of others."""
        now = time.monotonic()
        unknown = wanted - self._known.keys() - self._gone
        if unknown and now >= self._due:
            kept = {number: path for number, path in self._known.items() if number in wanted}
            self._numbers = self._tree.scan()
            self._known = kept | {number: path for path, number in self._numbers.items()}
            self._gone = wanted - self._known.keys()
            ended = time.monotonic()
            self._due = ended + max((ended - now) * PAUSE_PER_SCAN, LEAST_PAUSE_SECONDS)
        return self._known

    def line_of(self, path: str) -> Iterator[tuple[str, int]]:
        """A cgroup and those above it that there are, the nearest first, each with its id."""
        while True:
            if path in self._numbers:
                yield path, self._numbers[path]
            if path == "/":
                return
            path = path.rpartition("/")[0] or "/"
