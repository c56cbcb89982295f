"""Ports that were seen → ranges of them, with a stated slack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class LearnedRange(NamedTuple):
    """Ports `first` to `last`, of which `unseen` were not seen. 0 to 0: the kernel picks."""

    first: int
    last: int
    unseen: int = 0


def coalesce(
    ports: Sequence[int], slack: int, may_add: Callable[[int], bool]
) -> list[LearnedRange]:
    """Join ports, given in ascending order, that are at most `slack` apart, where all between them
    may be added. 1 joins neighbours only and adds nothing."""
    found: list[LearnedRange] = []
    for port in ports:
        before = found[-1] if found else None
        if before is not None and before.last and port - before.last <= max(slack, 1):
            between = range(before.last + 1, port)
            if all(map(may_add, between)):
                unseen = before.unseen + len(between)
                found[-1] = LearnedRange(before.first, port, unseen)
                continue
        found.append(LearnedRange(port, port))
    return found
