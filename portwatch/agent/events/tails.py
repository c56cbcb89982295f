"""Tells the tails of bursts, some at a time: the kernel's own events are not to wait behind
thousands of them."""

from __future__ import annotations

from portwatch.agent.clock import Clock
from portwatch.agent.events.suppressed import SECOND_NS, SuppressedTail
from portwatch.agent.events.teller import EventTeller
from portwatch.kernel.names import Names
from portwatch.kernel.readings import Readings, Totals, ViolationCount

AT_ONCE = 200


class Tails:
    """`waiting` where some are still to be told."""

    def __init__(
        self,
        tail: SuppressedTail,
        readings: Readings,
        names: Names,
        teller: EventTeller,
        clock: Clock,
    ) -> None:
        self._tail = tail
        self._readings = readings
        self._names = names
        self._teller = teller
        self._clock = clock
        self._waiting: list[tuple[ViolationCount, int]] = []

    @property
    def waiting(self) -> bool:
        """Whether there is more to tell at once."""
        return bool(self._waiting)

    def look(self, totals: Totals) -> None:
        """Find what has come to its end, by the kernel's counters."""
        untold = totals.events_suppressed + totals.events_lost
        if not self._waiting and self._tail.due(untold):
            self._find(self._clock.boot_ns())

    def tell_some(self) -> None:
        """The next ones."""
        for entry, count in self._waiting[:AT_ONCE]:
            self._teller.tell(
                {
                    "kind": "violation",
                    "verdict": entry.verdict,
                    "constraint": self._names.text(entry.constraint),
                    "bind": {"protocol": entry.protocol, "port": entry.port},
                    "workload": {"name": self._names.text(entry.workload)},
                    "count": count,
                }
            )
        del self._waiting[:AT_ONCE]

    def tell_all(self) -> None:
        """Also of bursts that would have gone on."""
        self._find(self._clock.boot_ns() + SECOND_NS)
        while self._waiting:
            self.tell_some()

    def _find(self, over_by_ns: int) -> None:
        self._waiting += self._tail.tails(self._readings.violations(), over_by_ns)
