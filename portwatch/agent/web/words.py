"""Numbers, times and verdicts as the pages say them."""

from __future__ import annotations

from portwatch.policy.tables.outcomes import ALLOWED, DENIED, RECORDED, Outcome

NO_BREAK = "\N{NO-BREAK SPACE}"
VERDICT_NAMES = {ALLOWED: "allowed", DENIED: "denied", RECORDED: "recorded"}


def verdict_name(outcome: Outcome) -> str:
    """`allowed`, `denied` or `recorded`."""
    return VERDICT_NAMES[outcome.verdict]


def range_words(first: int, last: int) -> str:
    """`8080`, `8000–8099`."""
    return str(first) if first == last else f"{first}–{last}"


def count_of(number: int, one: str, many: str = "") -> str:
    """`1 hook`, `1,234 hooks`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ago(seconds: float) -> str:
    """`3 min ago`, in the largest unit that fits, never broken over lines."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{NO_BREAK}{unit}{NO_BREAK}ago"
    return f"{max(seconds, 0):.0f}{NO_BREAK}s{NO_BREAK}ago"
