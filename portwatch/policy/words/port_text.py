"""Ports of several protocols as few words of the language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portwatch.policy.words.ports import LAST_PORT, PROTOCOLS, PortRange

Span = tuple[str, int, int]
"""Protocol, first and last port."""


def coalesced(spans: Iterable[Span]) -> list[PortRange]:
    """Return the ranges that hold just these ports, by number; `protocol` None: every protocol."""
    changes: dict[int, list[tuple[str, int]]] = {}
    for protocol, first, last in spans:
        changes.setdefault(first, []).append((protocol, 1))
        changes.setdefault(last + 1, []).append((protocol, -1))
    found: list[PortRange] = []
    for first, last, protocols in _stretches(changes):
        if len(protocols) == len(PROTOCOLS):
            found.append(PortRange(first, last))
        else:
            found += [PortRange(first, last, name) for name in PROTOCOLS if name in protocols]
    return found


def range_text(item: PortRange) -> str:
    """Return a range as policies write it."""
    suffix = f"/{item.protocol}" if item.protocol else ""
    if item.last == 0:
        return f"ephemeral{suffix}"
    if (item.first, item.last) == (1, LAST_PORT):
        return f"all{suffix}"
    numbers = str(item.first) if item.first == item.last else f"{item.first}-{item.last}"
    return numbers + suffix


def _stretches(
    changes: dict[int, list[tuple[str, int]]],
) -> Iterator[tuple[int, int, frozenset[str]]]:
    """Yield (first, last, protocols) of what has the same protocols, some at least."""
    depth = dict.fromkeys(PROTOCOLS, 0)
    begin, current = 0, frozenset[str]()
    for port in sorted(changes):
        for protocol, step in changes[port]:
            depth[protocol] += step
        following = frozenset(protocol for protocol, open_ in depth.items() if open_)
        if following != current:
            if current:
                yield begin, port - 1, current
            begin, current = port, following
