"""Ports on a logarithmic scale, in per cent of its width: port 1 at 0, the end of 65535 at 100."""

from __future__ import annotations

import math

PORTS = 65536
TICKS = (22, 80, 443, 2379, 5432, 6443, 8080, 9090, 30000)
_FULL = math.log(PORTS)


def position(port: int) -> float:
    """Where a port begins."""
    return 100 * math.log(port) / _FULL


def middle(first: int, last: int) -> float:
    """Where the middle of a range is."""
    return (position(first) + position(last + 1)) / 2


def width(first: int, last: int) -> float:
    """How wide a range is."""
    return position(last + 1) - position(first)
