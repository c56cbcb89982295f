"""Entries whose keys carry a generation, and removing those of policies that are gone."""

from __future__ import annotations

from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap

GENERATION_OFFSETS = {
    "addresses": layout.AddressKey.generation.offset,
    "cgroups": layout.CgroupKey.generation.offset,
    "accounts": layout.AccountKey.generation.offset,
    "policy": 0,
}


def forget_all_but(opened: BpfMap, generation: int) -> None:
    """Delete every entry of another generation; call after waiting for readers."""
    start = GENERATION_OFFSETS[opened.name]
    mark = generation.to_bytes(4, "little")
    stale = [key for key in opened.keys() if key[start : start + 4] != mark]  # noqa: SIM118 (a map is no dict)
    opened.delete_all(stale)
