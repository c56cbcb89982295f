"""How long to wait before the API server is asked again."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.5
MOST_SECONDS = 30.0


class BackOff:
    """Twice as long each time; half of it is chance, so that nodes do not ask all at once."""

    def __init__(self, first: float = FIRST_SECONDS, most: float = MOST_SECONDS) -> None:
        self._first = first
        self._most = most
        self._failures = 0
        self._chance = random.SystemRandom()

    def next(self) -> float:
        """Return how many seconds to wait after one more failure."""
        longest = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return longest * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It went well."""
        self._failures = 0

    def spread(self, least: float, most: float) -> float:
        """Return a number of seconds that differs from node to node."""
        return self._chance.uniform(least, most)
