"""Which series are shown, and that no counter ever goes back."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from portwatch.agent.metrics.oldest import OldestSeries


@dataclass(frozen=True)
class Entry:
    """One of the kernel's counts."""

    number: int
    first_ns: int
    count: int = 1
    is_rest: bool = False


def shown(series: OldestSeries[Entry], entries: list[Entry]) -> tuple[list[int], int]:
    """The numbers that are shown, and the count of all others."""
    folded: list[int] = []
    chosen = series.choose(entries, lambda entry: folded.append(entry.count))
    return [entry.number for entry in chosen], sum(folded)


def test_the_oldest_are_shown_in_their_order() -> None:
    """The first that happened have series of their own, in whatever order they are read."""
    entries = [Entry(1, 30), Entry(2, 10), Entry(3, 20), Entry(4, 40)]
    assert shown(OldestSeries(3), entries) == ([2, 3, 1], 1)


def test_what_the_kernel_folded_is_never_a_series() -> None:
    """The kernel's own rest has no age, and does not take the place of the oldest."""
    assert shown(OldestSeries(1), [Entry(9, 0, 5, is_rest=True), Entry(1, 10)]) == ([1], 5)


def test_a_series_is_not_pushed_out_by_one_that_was_entered_late() -> None:
    """A violation whose clock was read first and that was entered last, on another CPU, does not
    take the place of one that was shown before."""
    series = OldestSeries[Entry](2)
    before = [Entry(1, 10), Entry(2, 20)]
    assert shown(series, before) == ([1, 2], 0)
    late, newer = Entry(3, 15), Entry(4, 30)
    assert shown(series, [late, *before, newer]) == ([1, 3, 2], 1)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=6),
        min_size=2,
        max_size=6,
    ),
    st.integers(1, 5),
)
def test_no_counter_goes_back(bursts: list[list[tuple[int, int]]], room: int) -> None:
    """Whatever is entered between two scrapes, ties of the clock included: what was shown stays
    shown, the rest never shrinks, and the sum is what happened."""
    series = OldestSeries[Entry](room)
    entries: dict[int, Entry] = {}
    seen: set[int] = set()
    rest = 0
    for burst in bursts:
        for first_ns, number in burst:
            entries.setdefault(number, Entry(number, first_ns))
        numbers, folded = shown(series, list(entries.values()))
        assert seen <= set(numbers)
        assert folded >= rest
        assert len(numbers) + folded == len(entries)
        seen, rest = set(numbers), folded
