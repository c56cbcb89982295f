"""The connections that there are: how many, and whose turn it is to go where there are too many."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.agent.web.connection import Connection, Stage

MAX_CONNECTIONS = 64
MAX_UNSENT_BYTES = 8 << 20
"""Answers that are being written, together; one that is shared counts once."""


class Crowd:
    """At most MAX_CONNECTIONS at a time."""

    def __init__(self) -> None:
        self._all: set[Connection] = set()

    def __iter__(self) -> Iterator[Connection]:
        """A copy: they may go meanwhile."""
        return iter(tuple(self._all))

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    def add(self, connection: Connection) -> None:
        """One more."""
        self._all.add(connection)

    def remove(self, connection: Connection) -> None:
        """One less."""
        self._all.discard(connection)

    @property
    def is_full(self) -> bool:
        """Whether one has to go before another comes."""
        return len(self._all) >= MAX_CONNECTIONS

    @property
    def next_deadline(self) -> float | None:
        """The earliest, None where nobody is there."""
        return min((one.deadline for one in self._all), default=None)

    def expired(self, now: float) -> list[Connection]:
        """Whose time is over."""
        return [one for one in self._all if one.deadline <= now]

    def least(self) -> Connection | None:
        """The one that is missed least: idle the longest, else slow the longest; None where an
        answer is being made for each. A scraper is past each stage before 64 others have come."""
        movable = (one for one in self._all if one.stage is not Stage.ANSWERING)
        return min(movable, key=lambda one: (one.stage is not Stage.IDLE, one.since), default=None)

    def too_slow(self, newest: Connection) -> Connection | None:
        """Of those that hold answers, while these are too large together, who has read the longest
        and is not the `newest`."""
        held = {id(one.body): len(one.body) for one in self._all}
        if sum(held.values()) <= MAX_UNSENT_BYTES:
            return None
        others = (one for one in self._all if one.body and one is not newest)
        return min(others, key=lambda one: one.since, default=None)
