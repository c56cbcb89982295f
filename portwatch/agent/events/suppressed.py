"""The tail of a burst: violations that the kernel folded into a later event which never came.

The programs tell a repeated violation at most once a second, at the next violation; and so one
whose event did not fit the ring buffer. Where no next one follows, this tells the rest; and takes
care that nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from portwatch.kernel import layout
from portwatch.kernel.readings import ViolationCount
from portwatch.kernel.told import Key

SECOND_NS = 1_000_000_000


class TellsRanges(Protocol):
    """Where it is kept what was told from here: kernel.told.ToldRanges, or a test's."""

    def get(self, key: Key) -> tuple[int, int] | None:
        """The range told of `key`."""

    def put(self, key: Key, first: int, last: int) -> None:
        """(first, last] of `key` has been told."""

    def forget(self, key: Key) -> None:
        """That range has been passed."""


class SuppressedTail:
    """Of each violation: which of its numbers, (from, to], were told from here.

    The kernel's event for a violation stands for the numbers (total - count, total].
    """

    def __init__(self, told: TellsRanges) -> None:
        self._told = told
        self._seen_untold = -1

    def count_of(self, raw: layout.Event) -> int:
        """How many violations the kernel's event adds to what was told from here."""
        key = (
            raw.constraint,
            raw.workload,
            raw.port,
            layout.PROTOCOL_NAMES[raw.label],
            layout.VERDICT_NAMES[raw.verdict],
        )
        told = self._told.get(key)
        if told is None:
            return int(raw.count)
        if raw.total >= told[1]:
            self._told.forget(key)
        overlap = min(raw.total, told[1]) - max(raw.total - raw.count, told[0])
        return int(raw.count - max(overlap, 0))

    def due(self, untold_total: int) -> bool:
        """Whether anything may be waiting, by the kernel's counters of events not sent."""
        changed = untold_total != self._seen_untold
        self._seen_untold = untold_total
        return changed

    def tails(
        self, counts: Iterable[ViolationCount], now_ns: int
    ) -> Iterator[tuple[ViolationCount, int]]:
        """Each violation quiet for a second with something untold, and how much."""
        for entry in counts:
            key = (entry.constraint, entry.workload, entry.port, entry.protocol, entry.verdict)
            first, last = self._told.get(key) or (entry.reported, entry.reported)
            untold = entry.count - max(entry.reported, last)
            if untold <= 0:
                continue
            if now_ns - entry.last_event_ns < SECOND_NS:
                self._seen_untold = -1  # look again next time
                continue
            self._told.put(key, first, entry.count)
            yield entry, untold
