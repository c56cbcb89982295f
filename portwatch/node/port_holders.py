"""Who has a port, asked of a child: the agent's way to find the holder in a collision."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from portwatch.node.errand import Errand, answer
from portwatch.node.listeners import Listener, find_holders
from portwatch.node.socket_holders import Holder

TIMEOUT_SECONDS = 10.0
MAX_HOLDERS = 64  # a port with many connections has thousands


def begin_find_holders(netns_inode: int, protocol: str, port: int) -> Errand[list[Listener]]:
    """`find_holders()` in a child, at most the first MAX_HOLDERS; PortwatchError as it has them."""
    arguments = [str(netns_inode), protocol, str(port)]
    what = f"the search for the holder of {protocol} port {port}"
    return Errand(what, __name__, arguments, _parse, timeout_seconds=TIMEOUT_SECONDS)


def _parse(answered: Any) -> list[Listener]:
    listeners = []
    for fields in answered:
        holder = fields.pop("holder")
        listeners.append(Listener(**fields, holder=Holder(**holder) if holder else None))
    return listeners


def _work() -> object:
    netns_inode, protocol, port = sys.argv[1:]
    found = find_holders(int(netns_inode), protocol, int(port))
    return [asdict(one) for one in found[:MAX_HOLDERS]]


if __name__ == "__main__":
    answer(_work)
