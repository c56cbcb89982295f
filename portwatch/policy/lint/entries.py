"""Words of a constraint's lists that decide nothing."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.policy.lint.finding import Finding, listed, where
from portwatch.policy.lint.reach import EndpointClass, Kind, Reach, bits_of
from portwatch.policy.source.problems import quote
from portwatch.policy.words.ports import PortEntry, PortRange

UNUSED = "unused-entry"
REPEATED = "repeated-entry"
_KINDS: tuple[Kind, ...] = ("numbered", "ephemeral", "picked")


def unused_entries(reach: Reach) -> Iterator[Finding]:
    """Yield the words that another one beside them holds, and those that are decided before,
    of constraints that decide anything."""
    for number in bits_of(reach.reached):
        constraint = reach.policy.constraints[number]
        for name in ("deny", "allow"):
            entries: tuple[PortEntry, ...] = getattr(constraint, name).entries
            for position, entry in enumerate(entries):
                word = f"{quote(entry.word)} in `{name}`"
                holder = _holder(entries, position)
                if holder is not None:
                    reason = f"{word} is all in {quote(holder.word)} beside it"
                    yield Finding.of(constraint, REPEATED, reason, f"remove {quote(entry.word)}")
                elif not any(_decides(reach, number, name, one) for one in _classes(reach, entry)):
                    reason = f"{word} decides nothing: {_why(reach, number, name, entry)}"
                    remedy = f"remove {quote(entry.word)}, or narrow what decides it before"
                    yield Finding.of(constraint, UNUSED, reason, remedy)


def _classes(reach: Reach, entry: PortEntry) -> Iterator[EndpointClass]:
    for kind in _KINDS:
        for item in entry.ranges:
            for run in reach.runs_in(item, kind):
                yield from run.classes


def _decides(reach: Reach, number: int, name: str, one: EndpointClass) -> bool:
    listing: int = getattr(one, name)
    return bool(listing >> number & 1) and reach.reaches(number, one)


def _why(reach: Reach, number: int, name: str, entry: PortEntry) -> str:
    runs = [run for item in entry.ranges for run in reach.runs_in(item, "numbered")]
    cells = [one for run in runs for one in run.classes]
    listing = [one for one in cells if (one.deny | one.allow) >> number & 1]
    if name == "allow" and listing and all(one.deny >> number & 1 for one in listing):
        return "its `deny` list comes first"
    names = [where(constraint) for constraint in reach.decided_before(number, cells)]
    return f"{listed(names)} decided all of it before" if names else "it is decided before"


def _holder(entries: tuple[PortEntry, ...], position: int) -> PortEntry | None:
    """The other word that holds all of this one; of two that are equal, the first."""
    entry = entries[position]
    for at, other in enumerate(entries):
        is_equal_but_later = at > position and _holds(entry, other)
        if at != position and not is_equal_but_later and _holds(other, entry):
            return other
    return None


def _holds(outer: PortEntry, inner: PortEntry) -> bool:
    return all(any(_contains(wide, item) for wide in outer.ranges) for item in inner.ranges)


def _contains(wide: PortRange, item: PortRange) -> bool:
    inside = wide.first <= item.first and item.last <= wide.last
    return inside and wide.protocol in (None, item.protocol)
