"""The columns of the board: what stands in them, how they sort, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portwatch.agent.board.row import KINDS, WORDS, Row

GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    """`width` in cells; of one that stretches, the least. `order`: what to sort by."""

    name: str
    heading: str
    width: int
    order: Callable[[Row], Any]
    stretches: bool = False
    to_right: bool = False


def _importance(row: Row) -> tuple[Any, ...]:
    """Violations first, and of each kind what goes on now; not by rate, which would not stand
    still."""
    return (KINDS.index(row.kind), WORDS.index(row.word), not row.rate, -row.count)


COLUMNS = (
    Column("verdict", "VERDICT", 9, _importance),
    Column("workload", "WORKLOAD", 12, lambda row: row.workload, stretches=True),
    Column("port", "PORT", 9, lambda row: (row.port, row.protocol)),
    Column("scope", "SCOPE", 8, lambda row: row.scope),
    Column("count", "COUNT", 7, lambda row: -row.count, to_right=True),
    Column("rate", "RATE/S", 6, lambda row: -(row.rate or 0), to_right=True),
    Column("last", "LAST", 4, lambda row: -(row.last_seen or 0), to_right=True),
    Column("constraint", "CONSTRAINT", 12, lambda row: (not row.constraint, row.constraint), True),
    Column("process", "PROCESS", 22, lambda row: row.pid, stretches=True),
)
SORTS = tuple(column.name for column in COLUMNS if column.name != "process")
DROPPED_FIRST = ("process", "scope", "last", "constraint", "rate", "count", "port")


def columns_for(width: int) -> list[Column]:
    """Those that fit; on a narrow screen what tells least is left out."""
    kept = list(COLUMNS)
    for name in DROPPED_FIRST:
        if sum(column.width + GAP for column in kept) - GAP <= width:
            break
        kept = [column for column in kept if column.name != name]
    return kept


def why(row: Row) -> str:
    """The constraint and its reason, as far as there are any."""
    return ": ".join(part for part in (row.constraint, row.reason) if part)


def rate_text(rate: float | None) -> str:
    """At most six characters; empty for what is at rest, or not known yet."""
    if not rate:
        return ""
    if rate < 10:
        return f"{rate:.1f}" if rate >= 0.05 else "<0.1"
    return count_text(round(rate), 6)


def count_text(count: int, width: int = 7) -> str:
    """With separators, where that fits the width; else in thousands, millions, …"""
    text = f"{count:,}"
    number = float(count)
    for unit in "kMGTPE":
        if len(text) <= width:
            break
        number /= 1000
        text = f"{number:,.0f}{unit}" if number >= 10 else f"{number:.1f}{unit}"
    return text


def ago_text(seconds: float | None) -> str:
    """At most four characters."""
    if seconds is None:
        return ""
    if seconds < 2:
        return "now"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
