"""Catalog files → sets of ports by name, and what is wrong with them.

A set replaces the earlier one of its name, or adds to it where it says `extends: true`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.catalog.shape import CatalogSpec
from portwatch.policy.source.document import Place, Room, read_document
from portwatch.policy.source.merge import Spot
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.shape import report_shape
from portwatch.policy.words.names import NAME, NAME_RULE
from portwatch.policy.words.ports import BadWord, PortRange, parse_port

MAX_INCLUDES = 32
"""How deep sets may include sets."""

MAX_EXPANDED = 262_144
"""How many ranges all sets may come to by what they include."""


@dataclass(frozen=True)
class Written:
    """A set as its files have it: `entry` has its own ranges alone; the places of its includes."""

    entry: CatalogEntry
    places: tuple[tuple[str, Place], ...] = ()


def read_sets(
    sources: Sequence[tuple[str, str | bytes]],
    earlier: Mapping[str, Written],
    problems: Problems,
    *,
    is_own: bool = True,
) -> dict[str, Written]:
    """Return the `earlier` sets with those of the files, given as (name, text) in order.

    `is_own`: whether they are the machine's own, not what is built in.
    """
    sets = dict(earlier)
    room = Room()
    for name, text in sources:
        document = read_document(name, text, problems, room)
        if document is None or document.data is None:
            continue
        if not isinstance(document.data, dict):
            place = document.place(())
            problems.add(name, place, "a catalog file is a mapping of names to sets of ports")
        elif not report_shape(document, problems, CatalogSpec):
            root = Spot(document.data, document, ())
            file = name if is_own else None
            sets |= {key: _read_set(root.at(key), sets, problems, file) for key in root.value}
    return sets


def whole_sets(written: Mapping[str, Written], problems: Problems) -> dict[str, CatalogEntry]:
    """Return every set with the ranges of those that it includes; one that includes a set of the
    machine's own is the machine's own too."""
    whole = _Whole(written, problems)
    return {name: whole.entry(name) for name in written}


class _Whole:
    """Follows `includes`, each set's once."""

    def __init__(self, written: Mapping[str, Written], problems: Problems) -> None:
        self._written = written
        self._problems = problems
        self._done: dict[str, CatalogEntry] = {}
        self._open: list[str] = []
        self._room = MAX_EXPANDED

    def entry(self, name: str) -> CatalogEntry:
        """A set with its own ranges, then those of what it includes."""
        if name in self._done:
            return self._done[name]
        self._open.append(name)
        one = self._written[name]
        ranges = dict.fromkeys(one.entry.ranges)
        file = one.entry.file
        for other, (where, place) in zip(one.entry.includes, one.places, strict=True):
            wrong = self._refuse(other)
            if wrong:
                self._problems.add(where, place, wrong)
                continue
            included = self.entry(other)
            self._room -= len(included.ranges)
            ranges |= dict.fromkeys(included.ranges)
            file = file or included.file
        self._open.pop()
        return self._done.setdefault(name, replace(one.entry, ranges=tuple(ranges), file=file))

    def _refuse(self, name: str) -> str | None:
        """What is wrong with including `name` here."""
        if name not in self._written:
            meant = self._problems.did_you_mean(name, self._written)
            return f"the catalog has no {quote(name)}{meant}"
        if name in self._open:
            circle = " → ".join([*self._open[self._open.index(name) :], name])
            return f"{quote(name)} includes itself: {circle}"
        if len(self._open) >= MAX_INCLUDES:
            return f"sets include sets more than {MAX_INCLUDES} deep"
        return f"sets come to more than {MAX_EXPANDED:,} ranges" if self._room < 0 else None


def _read_set(
    spot: Spot, sets: Mapping[str, Written], problems: Problems, file: str | None
) -> Written:
    name, document = str(spot.path[-1]), spot.document
    extended = None
    if not NAME.fullmatch(name):
        place = document.place(spot.path, key=True)
        problems.add(document.name, place, f"{quote(name)} is no name: {NAME_RULE}")
    if not spot.value.keys() & {"ports", "includes"}:
        place = document.place(spot.path, key=True)
        problems.add(document.name, place, "the set is empty: it needs `ports` or `includes`")
    if spot.value.get("extends"):
        extended = sets.get(name)
        if extended is None:
            meant = problems.did_you_mean(name, sets)
            place = document.place((*spot.path, "extends"), key=True)
            problems.add(document.name, place, f"there is no {quote(name)} to extend{meant}")
    ports, includes = spot.get("ports"), spot.get("includes")
    included = includes.items() if includes else []
    ranges = _ranges(ports.items() if ports else [], problems)
    places = tuple((document.name, document.place(item.path)) for item in included)
    names = tuple(item.value for item in included)
    base = extended.entry if extended else CatalogEntry(name, "", document.name, ())
    entry = CatalogEntry(
        name,
        spot.value.get("description", base.description),
        spot.value.get("source", base.source),
        (*base.ranges, *ranges),
        (*base.includes, *names),
        file,
    )
    return Written(entry, (*(extended.places if extended else ()), *places))


def _ranges(spots: Iterable[Spot], problems: Problems) -> list[PortRange]:
    found = []
    for spot in spots:
        word = quote(str(spot.value))
        place = spot.document.place(spot.path)
        try:
            parsed = parse_port(spot.value)
        except BadWord as err:
            problems.add(spot.document.name, place, f"{word}: {err}")
            continue
        if parsed is None:
            message = f"{word} is no port: a catalog has numbers and ranges, and sets `includes`"
            problems.add(spot.document.name, place, message)
        else:
            found.append(parsed)
    return found
