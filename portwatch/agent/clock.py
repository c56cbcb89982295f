"""Boot time, in which the kernel stamps, and wall-clock time, in which people read."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


class Clock:
    """The machine's two clocks; tests hand in another."""

    def boot_ns(self) -> int:
        """Nanoseconds since boot, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def wall_ns_of(self, boot_ns: int) -> int:
        """A boot time as wall-clock time, by the offset that holds now."""
        return self.wall_ns() - self.boot_ns() + boot_ns


def iso(wall_ns: int) -> str:
    """`2026-01-02T03:04:05.678901Z`."""
    seconds, fraction = divmod(wall_ns, 1_000_000_000)
    return f"{_second(seconds)}.{fraction // 1000:06d}Z"


@lru_cache(4)
def _second(seconds: int) -> str:
    """Events of a burst are of the same second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
