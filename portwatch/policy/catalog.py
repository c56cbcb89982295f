"""The catalog: ports that well-known software listens on, by name (`catalog:etcd`).

Read from catalog.yaml, once, where a policy first names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from portwatch.policy.document import read_document
from portwatch.policy.ports import PortRange, parse_port
from portwatch.policy.problems import Problems


@dataclass(frozen=True)
class CatalogEntry:
    """A named set of ports: what it is, and the document that says so."""

    name: str
    description: str
    source: str
    ranges: tuple[PortRange, ...]


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Return the catalog, by name. An entry's `includes` bring in those of other entries."""
    path = Path(__file__).with_name("catalog.yaml")
    problems = Problems()
    document = read_document(path.name, path.read_bytes(), problems)
    problems.raise_if_any()
    entries: dict[str, CatalogEntry] = {}
    for name, fields in document.data.items() if document else ():
        ranges = [item for word in fields.get("ports", ()) if (item := parse_port(word))]
        for other in fields.get("includes", ()):
            ranges.extend(entries[other].ranges)
        unique = tuple(dict.fromkeys(ranges))
        entries[name] = CatalogEntry(name, fields["description"], fields["source"], unique)
    return entries
