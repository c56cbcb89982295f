"""The ring of events, read at once where it was quiet, and in batches where events are many.

A wake-up of the agent's loop costs more than an event does.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

from portwatch.kernel.ringbuf import RECORDS_AT_ONCE, RingReader

PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.02
"""Between two reads, the more events the longer. A process that is gone by then is told without
its executable, which only /proc knows."""


class PacedRing:
    """Hands the records to `take`, from the loop that owns the selector."""

    def __init__(
        self,
        ring: RingReader,
        selector: selectors.BaseSelector,
        take: Callable[[list[bytes]], None],
    ) -> None:
        self._ring = ring
        self._selector = selector
        self._take = take
        self._due: float | None = None  # none while the selector waits for records

    def watch(self) -> None:
        """Begin: wait for records."""
        self._selector.register(self._ring.fileno(), selectors.EVENT_READ, self.read)

    def pause(self, longest: float) -> float:
        """How many seconds the loop may sleep, and `longest` at most."""
        if self._due is None:
            return longest
        return min(longest, max(self._due - time.monotonic(), 0))

    def tick(self) -> None:
        """Called after every wake-up."""
        if self._due is not None and time.monotonic() >= self._due and not self.read():
            self._due = None
            self.watch()

    def read(self) -> bool:
        """Hand on the next records; False where there were none."""
        now = time.monotonic()
        records = self._ring.read()
        if not records:
            return False
        if self._due is None:
            self._selector.unregister(self._ring.fileno())
        pause = min(PAUSE_SECONDS * len(records), LONGEST_PAUSE_SECONDS)
        self._due = now if len(records) >= RECORDS_AT_ONCE else now + pause
        self._take(records)
        return True

    def close(self) -> None:
        """Stop reading; records that were not read stay for the next reader."""
        self._ring.close()
