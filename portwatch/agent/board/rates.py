"""How fast counts grow, over the last few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping

WINDOW_SECONDS = 5.0
LEAST_SECONDS = 0.05


class Rates:
    """Remembers readings of all counts for as long as the window, and one that is older."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Mapping[Hashable, int]]] = deque()
        self._now = 0.0

    def take(self, now: float, counts: Mapping[Hashable, int]) -> None:
        """The counts now; `now` is monotonic, in seconds."""
        self._readings.append((now, counts))
        self._now = now
        while len(self._readings) > 2 and self._readings[1][0] <= now - WINDOW_SECONDS:
            self._readings.popleft()

    def of(self, key: Hashable) -> float | None:
        """Per second; None before there is a stretch to tell it by. What is new has come from
        nothing."""
        then, oldest = self._readings[0]
        if self._now - then < LEAST_SECONDS:
            return None
        grown = self._readings[-1][1].get(key, 0) - oldest.get(key, 0)
        return max(grown, 0) / (self._now - then)
