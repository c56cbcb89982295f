"""Which violations userspace has told of by itself, kept beside the counts so that the next agent
does not tell them again.

Of each violation the range (from, to] of its numbers; see agent/suppressed.py.
"""

from __future__ import annotations

import struct

from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap

RANGE = struct.Struct("=QQ")
Key = tuple[int, int, int, str, str]
"""Constraint, workload, port, protocol, verdict."""


class ToldRanges:
    """A map of userspace's own; a full one forgets, and something is told twice."""

    def __init__(self, pinned: BpfMap) -> None:
        self._map = pinned
        self._ranges = {_unpack(key): RANGE.unpack(value) for key, value in pinned.items()}

    def get(self, key: Key) -> tuple[int, int] | None:
        """The range told of `key`; None where nothing was."""
        return self._ranges.get(key)

    def put(self, key: Key, first: int, last: int) -> None:
        """(first, last] of `key` has been told."""
        self._ranges[key] = (first, last)
        self._map.put(_pack(key), RANGE.pack(first, last))

    def forget(self, key: Key) -> None:
        """The kernel's own events have passed that range."""
        del self._ranges[key]
        self._map.delete(_pack(key))


def _pack(key: Key) -> bytes:
    constraint, workload, port, protocol, verdict = key
    return bytes(
        layout.ViolationKey(
            constraint=constraint,
            workload=workload,
            port=port,
            protocol=layout.PROTOCOL_NAMES.index(protocol),
            verdict=layout.VERDICT_NAMES.index(verdict),
        )
    )


def _unpack(key: bytes) -> Key:
    where = layout.ViolationKey.from_buffer_copy(key)
    protocol = layout.PROTOCOL_NAMES[where.protocol]
    verdict = layout.VERDICT_NAMES[where.verdict]
    return where.constraint, where.workload, where.port, protocol, verdict
