"""Subjects by predicates that change alike, and the fewest of them that say it all."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.policy.difference.readings import Pair


@dataclass(frozen=True, slots=True)
class Cell:
    """Subjects by the predicates that hold and that fail for them, and how they change."""

    holding: int
    failing: int
    outcomes: Pair

    @property
    def size(self) -> int:
        """By how many predicates the subjects are told."""
        return self.holding.bit_count() + self.failing.bit_count()

    def covers(self, other: Cell) -> bool:
        """Return whether the other's subjects are some of these."""
        return not (self.holding & ~other.holding or self.failing & ~other.failing)


def least(cells: dict[Cell, int]) -> dict[Cell, int]:
    """Return the cells less what others of them cover."""
    kept: dict[Cell, int] = {}
    for cell, endpoints in sorted(cells.items(), key=lambda item: item[0].size):
        for other, covered in kept.items():
            if other.covers(cell):
                endpoints &= ~covered
        if endpoints:
            kept[cell] = endpoints
    return kept
