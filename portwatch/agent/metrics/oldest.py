"""Which series are shown under labels of their own: the oldest, at every scrape the same ones."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class HasAge(Protocol):
    """What the kernel counts: kernel.readings.ViolationCount or CollisionCount."""

    @property
    def count(self) -> int:
        """So often."""

    @property
    def first_ns(self) -> int:
        """When it was first counted, boot time in ns."""

    @property
    def number(self) -> int:
        """No other has it."""

    @property
    def is_rest(self) -> bool:
        """Whether it stands for what the kernel had no room for."""


Counted = TypeVar("Counted", bound=HasAge)


class OldestSeries(Generic[Counted]):
    """Room for so many. What was once shown stays so, and what was once folded stays folded: else
    one series would go back, and another would jump by what it never counted."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._last = (0, 0)
        """Age of the newest that was ever shown."""

    def choose(self, entries: Iterable[Counted], fold: Callable[[Counted], None]) -> list[Counted]:
        """Those to show, oldest first; `fold` is told of all others. Hardly more than fit are held
        at once."""
        newest_first: list[tuple[int, int, Counted]] = []
        last_ns, last_number = self._last
        newest_shown = (-last_ns, -last_number)
        for entry in entries:
            if entry.is_rest:
                fold(entry)
                continue
            heapq.heappush(newest_first, (-entry.first_ns, -entry.number, entry))
            # One that is entered late, with an older clock, finds room beside those shown before.
            if len(newest_first) > self._room and newest_first[0][:2] < newest_shown:
                fold(heapq.heappop(newest_first)[2])
        if newest_first:
            self._last = max(self._last, (-newest_first[0][0], -newest_first[0][1]))
        return [entry for _, _, entry in sorted(newest_first, reverse=True)]
