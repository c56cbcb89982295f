"""Sets and maps of nf_tables, looked into with a key that only a packet has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from portwatch.node.nat.comparisons import equal
from portwatch.node.nat.netlink import Attributes
from portwatch.node.nat.registers import OTHER, WORD, Loaded, State
from portwatch.node.nat.traffic import Range, Traffic
from portwatch.node.nat.xt import UNTOLD

INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END


class MapElement(NamedTuple):
    """One of a set, or of a map, which has `data`. `key_end`: the last of a range of tuples."""

    key: bytes
    key_end: bytes
    data: Attributes
    flags: int


NftMap = list[MapElement]
Maps = Callable[[str], NftMap]


def matching(
    state: State, place: int, elements: NftMap, is_map: bool
) -> list[tuple[Traffic, MapElement]]:
    """The connections whose key, in the registers from `place` on, is there, by element; those of
    a set as one, where the key is one part of the packet."""
    parts = _key_parts(state, place, len(elements[0].key) if elements else 0)
    found = [
        (traffic, element)
        for element, end in _ranges(elements, len(parts) == 1)
        if (traffic := _element_traffic(parts, element.key, end))
    ]
    if not is_map and len(parts) == 1 and found:
        found = [(_union(traffic for traffic, _ in found), found[0][1])]
    return found


def _key_parts(state: State, place: int, key_bytes: int) -> list[Loaded]:
    """The parts of the packet, register after register, that make the key."""
    parts = []
    end = place + key_bytes
    while place < end:
        part = state.loaded.get(place, Loaded(OTHER, WORD))
        parts.append(part)
        place += max(_padded(part.size), WORD)
    return parts


def _padded(size: int) -> int:
    return size + -size % WORD


def _element_traffic(parts: list[Loaded], key: bytes, end: bytes) -> Traffic | None:
    found: Traffic | None = Traffic()
    start = 0
    for part in parts:
        stop = start + part.size
        one = equal(part, key[start:stop], end[start:stop]) if key[start:stop] else UNTOLD
        found = found.narrowed(one) if found else None
        start += _padded(part.size)
    return found


def _ranges(elements: NftMap, intervals: bool) -> Iterator[tuple[MapElement, bytes]]:
    """Each element with the last key that it stands for; empty where that is its own.

    In a set of intervals an element without a key of its own ends the one before it.
    """
    ends = [one.key for one in elements if one.flags & INTERVAL_END]
    for one in elements:
        if one.flags & INTERVAL_END:
            continue
        end = one.key_end
        if intervals and ends and not end:
            behind = min((key for key in ends if key > one.key), default=b"")
            size = len(one.key)
            end = (int.from_bytes(behind) - 1).to_bytes(size) if behind else b"\xff" * size
        yield one, end


def _union(found: Iterable[Traffic]) -> Traffic:
    """Of conditions on the same one part."""
    all_of = list(found)
    first = all_of[0]
    ports: tuple[Range, ...] = tuple(r for one in all_of for r in one.ports or ())
    protocols: frozenset[int] = frozenset().union(*(one.protocols or () for one in all_of))
    addresses = tuple(a for one in all_of for a in one.addresses or ())
    return Traffic(
        frozenset().union(*(one.families for one in all_of)),
        None if first.protocols is None else protocols,
        None if first.ports is None else ports,
        None if first.addresses is None else addresses,
        all(one.whole for one in all_of),
    )
