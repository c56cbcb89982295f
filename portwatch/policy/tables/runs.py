"""Ports by number, as runs that share a port class."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from portwatch.policy.tables.compile import CompiledPolicy
from portwatch.policy.tables.endpoint_classes import PORTS
from portwatch.policy.words.ports import PROTOCOLS


class Run(NamedTuple):
    """First and last port of a protocol, and the port class that they share."""

    protocol: str
    first: int
    last: int
    port_class: int


def port_runs(compiled: CompiledPolicy) -> list[Run]:
    """Return the runs of ports 1 to 65535 that are asked for by number, protocol by protocol."""
    found = []
    for row, protocol in enumerate(PROTOCOLS):
        classes = compiled.port_classes[row * PORTS + 1 : (row + 1) * PORTS]
        first = 1
        for number, group in groupby(classes):
            last = first + len(list(group)) - 1
            found.append(Run(protocol, first, last, number))
            first = last + 1
    return found
