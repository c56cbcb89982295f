"""How full the maps are that a published policy fills."""

from __future__ import annotations

from collections.abc import Mapping

from portwatch.agent.live_policy import Published
from portwatch.kernel import layout


def map_fill(
    published: Published, names: int, capacities: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Entries and capacity by map name. `names`: how many there are; `capacities`: the kernel's,
    half of which is for the next policy but for names."""
    compiled = published.compiled
    accounts = len(compiled.user_classes) + len(compiled.group_classes)
    return {
        "cgroups": (len(published.ids), capacities["cgroups"] // 2),
        "addresses": (len(compiled.address_classes), capacities["addresses"] // 2),
        "accounts": (accounts, capacities["accounts"] // 2),
        "names": (names, capacities["names"]),
        "subject_rows": (published.subjects.row_count, published.subjects.row_capacity),
        "endpoint_classes": (compiled.endpoint_class_count, layout.MAX_ENDPOINTS),
    }
