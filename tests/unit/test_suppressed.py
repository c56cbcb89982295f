"""The tails of bursts: every violation is told once, whoever tells it."""

from __future__ import annotations

from dataclasses import replace

from portwatch.agent.events.suppressed import SECOND_NS, SuppressedTail
from portwatch.kernel import layout
from portwatch.kernel.readings import ViolationCount
from portwatch.kernel.told import Key

ENTRY = ViolationCount(
    constraint=3,
    workload=4,
    port=9000,
    protocol="tcp",
    verdict="denied",
    count=10,
    reported=1,
    last_event_ns=0,
    first_ns=0,
)


class Ranges:
    """What was told, in memory."""

    def __init__(self) -> None:
        self.ranges: dict[Key, tuple[int, int]] = {}

    def get(self, key: Key) -> tuple[int, int] | None:
        """As ToldRanges has it."""
        return self.ranges.get(key)

    def put(self, key: Key, first: int, last: int) -> None:
        """As ToldRanges has it."""
        self.ranges[key] = (first, last)

    def forget(self, key: Key) -> None:
        """As ToldRanges has it."""
        del self.ranges[key]


def event(count: int, total: int) -> layout.Event:
    """The kernel's event for the violations (total - count, total] of ENTRY's key."""
    return layout.Event(constraint=3, workload=4, port=9000, verdict=1, count=count, total=total)


def told(tail: SuppressedTail, entry: ViolationCount, now_ns: int) -> list[int]:
    """The counts that the tail tells."""
    return [count for _, count in tail.tails([entry], now_ns)]


def test_a_quiet_second_ends_a_burst() -> None:
    """What the kernel kept back is told once the burst is a second old, and only once."""
    tail = SuppressedTail(Ranges())
    assert told(tail, ENTRY, SECOND_NS - 1) == []
    assert told(tail, ENTRY, SECOND_NS) == [9]
    assert told(tail, ENTRY, 2 * SECOND_NS) == []


def test_a_later_event_of_the_kernel_does_not_tell_again() -> None:
    """The kernel's next event stands for what was told from here too; that part is taken off."""
    tail = SuppressedTail(Ranges())
    assert told(tail, ENTRY, SECOND_NS) == [9]
    assert tail.count_of(event(count=10, total=11)) == 1
    assert tail.count_of(event(count=2, total=13)) == 2


def test_an_event_that_waited_in_the_buffer_keeps_its_count() -> None:
    """An event from before the tail stands for other violations: nothing is taken off."""
    tail = SuppressedTail(Ranges())
    assert told(tail, ENTRY, SECOND_NS) == [9]
    assert tail.count_of(event(count=1, total=1)) == 1


def test_two_tails_in_a_row() -> None:
    """A second burst without an event of the kernel's is told from where the first ended."""
    tail = SuppressedTail(Ranges())
    assert told(tail, ENTRY, SECOND_NS) == [9]
    assert told(tail, replace(ENTRY, count=15), 3 * SECOND_NS) == [5]
    assert tail.count_of(event(count=15, total=16)) == 1


def test_looks_again_while_something_is_too_young() -> None:
    """Where a burst was not over yet, the tail is due again although nothing new was kept back."""
    tail = SuppressedTail(Ranges())
    assert tail.due(9)
    assert not tail.due(9)
    told(tail, ENTRY, SECOND_NS - 1)
    assert tail.due(9)


def test_the_next_agent_does_not_tell_again() -> None:
    """What one agent told is known to the next, by the ranges that outlive it."""
    ranges = Ranges()
    assert told(SuppressedTail(ranges), ENTRY, SECOND_NS) == [9]
    assert told(SuppressedTail(ranges), ENTRY, 2 * SECOND_NS) == []
