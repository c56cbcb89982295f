"""The sets of the catalog that one policy names, and how they are kept beside its text.

A policy in force is read again later, by other commands and by the next agent: it must then mean
what it meant, whatever has become of the catalog.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from portwatch.errors import PolicyError
from portwatch.policy.catalog.catalog import CatalogEntry, catalog
from portwatch.policy.source.problems import Problems
from portwatch.policy.words.port_text import range_text
from portwatch.policy.words.ports import PortRange, parse_port

STORED_CATALOG = "catalog.d/"
"""What the kept sets are called among a policy's sources: no file's name ends in a slash."""


class CatalogUse:
    """The catalog as one policy sees it: the sets `stored` with it, else those there are now.

    It is read where a policy first names a set.
    """

    def __init__(self, stored: str | bytes | None = None) -> None:
        self._known: Mapping[str, CatalogEntry] | None = None
        self._stored = stored
        self._used: dict[str, CatalogEntry] = {}
        self._is_read = False

    @property
    def used(self) -> tuple[CatalogEntry, ...]:
        """The sets that were used, by name."""
        return tuple(self._used[name] for name in sorted(self._used))

    def known(self, problems: Problems) -> Mapping[str, CatalogEntry] | None:
        """Return the sets by name; None, with what is wrong recorded, where they are bad."""
        if not self._is_read:
            self._is_read = True
            try:
                self._known = catalog() if self._stored is None else _unpack(self._stored)
            except PolicyError as err:
                for one in err.problems:
                    problems.add(one.file, (one.line, one.column), one.message)
        return self._known

    def use(self, name: str) -> CatalogEntry:
        """Return a set that is known."""
        assert self._known is not None
        return self._used.setdefault(name, self._known[name])


def with_catalog(
    sources: Sequence[tuple[str, str | bytes]], used: Sequence[CatalogEntry]
) -> tuple[tuple[str, str | bytes], ...]:
    """Return a policy's sources with the sets that it names, in the form of one more."""
    files = [(name, text) for name, text in sources if name != STORED_CATALOG]
    return (*files, *([(STORED_CATALOG, _pack(used))] if used else ()))


def own_sets(used: Iterable[CatalogEntry]) -> str:
    """Return a text that holds what the machine's own sets mean, empty where none was used."""
    own = {entry.name: _words(entry.ranges) for entry in used if entry.file is not None}
    return json.dumps(own, sort_keys=True) if own else ""


def _pack(used: Iterable[CatalogEntry]) -> str:
    return json.dumps(
        {
            entry.name: {
                "description": entry.description,
                "source": entry.source,
                "ports": _words(entry.ranges),
                "file": entry.file,
            }
            for entry in used
        }
    )


def _unpack(text: str | bytes) -> dict[str, CatalogEntry]:
    return {
        name: CatalogEntry(
            name,
            fields["description"],
            fields["source"],
            tuple(filter(None, map(parse_port, fields["ports"]))),
            file=fields["file"],
        )
        for name, fields in json.loads(text).items()
    }


def _words(ranges: Iterable[PortRange]) -> list[str]:
    return [range_text(item) for item in ranges]
