"""One row of the table: what was measured, the target, the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`figure` and `target` in `unit`; `at_least`: more is better. No target: for comparison."""

    what: str
    unit: str
    figure: float
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached; true where there is none."""
        if self.target is None:
            return True
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    @property
    def ratio(self) -> float | None:
        """Figure over target."""
        return self.figure / self.target if self.target else None


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [f"{'what':<66} {'target':>12} {'figure':>12} {'ratio':>6}"]
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        target = f"{sign} {row.target:,g} {row.unit}" if row.target is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        shown = f"{row.figure:.3f}" if row.unit == "×" else _short(row.figure)
        figure = f"{shown} {row.unit}".rstrip()
        missed = "" if row.met else "  MISSED"
        note = f"  {row.note}" if row.note else ""
        lines.append(f"{row.what:<66} {target:>12} {figure:>12} {ratio:>6}{missed}{note}")
    return "\n".join(lines)


def _short(figure: float) -> str:
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"
