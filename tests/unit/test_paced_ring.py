"""When records are read: at once where it was quiet, in batches where they are many."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from typing import cast

import pytest

from portwatch.agent.events.paced_ring import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, PacedRing
from portwatch.kernel.ringbuf import RECORDS_AT_ONCE, RingReader

REST = 2.0


class Ring:
    """Readable while it holds records, as a ring buffer is."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0)
        self._records: list[bytes] = []

    def put(self, *records: bytes) -> None:
        """Something happened."""
        self._records += records
        os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        """For select()."""
        return self._fd

    def read(self) -> list[bytes]:
        """The next, and at most so many."""
        taken, self._records = self._records[:RECORDS_AT_ONCE], self._records[RECORDS_AT_ONCE:]
        if taken and not self._records:
            os.eventfd_read(self._fd)
        return taken

    def close(self) -> None:
        """The end."""
        os.close(self._fd)


class Loop:
    """As the agent's."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.taken: list[bytes] = []
        self.batches = 0
        self._selector = selectors.DefaultSelector()
        self.paced = PacedRing(cast(RingReader, self.ring), self._selector, self._take)
        self.paced.watch()

    def pause(self) -> float:
        """How long it would sleep."""
        return self.paced.pause(REST)

    def turn(self) -> float:
        """One wake-up; the seconds until it came."""
        began = time.monotonic()
        for key, _ in self._selector.select(self.pause()):
            key.data()
        self.paced.tick()
        return time.monotonic() - began

    def close(self) -> None:
        """The end."""
        self.paced.close()
        self._selector.close()

    def _take(self, records: list[bytes]) -> None:
        self.taken += records
        self.batches += 1


@pytest.fixture
def loop() -> Iterator[Loop]:
    """One that waits for records."""
    loop = Loop()
    yield loop
    loop.close()


def test_a_record_alone_is_read_at_once(loop: Loop) -> None:
    """It wakes the loop; then the loop looks once more, and rests until the next."""
    for name in (b"1", b"2"):
        assert loop.pause() == REST
        loop.ring.put(name)
        assert loop.turn() < REST
        assert loop.taken[-1] == name
        assert loop.pause() <= PAUSE_SECONDS
        while loop.pause() < REST:
            assert loop.turn() < REST
    assert loop.taken == [b"1", b"2"]


def test_many_records_wake_the_loop_seldom(loop: Loop) -> None:
    """While they keep coming, it is the clock that wakes it, and none waits for long."""
    began = time.monotonic()
    turns = 0
    while time.monotonic() < began + 10 * LONGEST_PAUSE_SECONDS:
        loop.ring.put(*[b"one"] * 10)
        loop.turn()
        turns += 1
        assert loop.pause() <= LONGEST_PAUSE_SECONDS
    assert turns <= 12
    while loop.pause() < REST:
        loop.turn()
    assert len(loop.taken) == 10 * turns


def test_what_one_read_does_not_take_is_read_without_a_pause(loop: Loop) -> None:
    """A ring that fills faster than it is read is emptied first."""
    records = [b"%d" % number for number in range(4 * RECORDS_AT_ONCE + 1)]
    loop.ring.put(*records)
    loop.turn()
    while len(loop.taken) < len(records):
        assert loop.pause() == 0
        loop.turn()
    assert loop.taken == records
    assert loop.pause() <= PAUSE_SECONDS


def test_what_is_left_at_the_end_is_read_by_whoever_asks(loop: Loop) -> None:
    """Between two batches, too."""
    loop.ring.put(b"1", b"2")
    assert loop.paced.read()
    loop.ring.put(b"3")
    assert loop.paced.read()
    assert not loop.paced.read()
    assert loop.taken == [b"1", b"2", b"3"]
