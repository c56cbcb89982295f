"""What explains a bind beside its verdict, for machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.owners import Owner
from portwatch.policy.tables.permitted import Permitted
from portwatch.policy.words.port_text import range_text


def explanation_facts(
    may_bind: Iterable[Permitted], owners: Iterable[Owner], catalog: Iterable[CatalogEntry]
) -> dict[str, Any]:
    """What the workload may have instead, whose the port is, and what the catalog calls it."""
    return {
        "may_bind": [
            {"addresses": list(one.addresses), "ports": [range_text(r) for r in one.ports]}
            for one in may_bind
        ],
        "owners": [
            {
                "constraint": one.constraint.name,
                "workloads": list(one.workloads),
                "kept": one.is_kept,
            }
            for one in owners
        ],
        "catalog": [entry.name for entry in catalog],
    }
