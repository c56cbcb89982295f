"""One set of the catalog. Imports nothing of portwatch but `ports`."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.policy.words.ports import PortRange


@dataclass(frozen=True)
class CatalogEntry:
    """A named set of ports: what it is, and the document that says so.

    `ranges` has those of the sets that it `includes` too. `file`: where it was written or
    extended, None for what is built in.
    """

    name: str
    description: str
    source: str
    ranges: tuple[PortRange, ...]
    includes: tuple[str, ...] = ()
    file: str | None = None
