"""What the catalog calls a port, looked up for many ports at once."""

from __future__ import annotations

from portwatch.policy.catalog.catalog import readable_catalog
from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.words.ports import PortRange


class KnownPorts:
    """The catalog as it is now, by port: of several sets the smallest, as `catalog_sets` has it."""

    def __init__(self) -> None:
        sets = readable_catalog().values()
        self._ranges: list[tuple[PortRange, CatalogEntry]] = [
            (item, entry) for entry in sorted(sets, key=_size) for item in entry.ranges
        ]
        self._by_port: dict[str, dict[int, CatalogEntry]] = {}

    def words(self, protocol: str, port: int) -> str:
        """Name and description; empty where no set has the port."""
        known = self._by_port.get(protocol)
        if known is None:
            known = self._by_port[protocol] = self._index(protocol)
        entry = known.get(port)
        return f"catalog:{entry.name}, {entry.description}" if entry else ""

    def _index(self, protocol: str) -> dict[int, CatalogEntry]:
        found: dict[int, CatalogEntry] = {}
        for item, entry in self._ranges:
            if item.protocol in (None, protocol):
                for port in range(item.first, item.last + 1):
                    found.setdefault(port, entry)
        return found


def _size(entry: CatalogEntry) -> tuple[int, int]:
    """A set that includes another is never before it."""
    return sum(item.last - item.first + 1 for item in entry.ranges), len(entry.includes)
