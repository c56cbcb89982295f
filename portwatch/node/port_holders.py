"""Who has a port, asked of a child: the agent's way to find the holder in a collision."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from portwatch.errors import KernelError
from portwatch.node.errand import Errand, answer
from portwatch.node.listeners import Listener, find_holders
from portwatch.node.socket_holders import Holder

CHILD = "portwatch.node.port_holders"
TIMEOUT_SECONDS = 10.0
MAX_HOLDERS = 64  # a port with many connections has thousands


@dataclass(frozen=True)
class PortQuestion:
    """Who holds a port of a network namespace, which is named by its inode."""

    network: int
    protocol: str
    port: int


def begin_find_holders(questions: Sequence[PortQuestion]) -> Errand[list[list[Listener]]]:
    """`find_holders()` in a child, for each question at most the first MAX_HOLDERS; none where the
    namespace is gone or closed. PortwatchError where the child fails."""
    what = "the search for the holders of ports"
    request = [asdict(one) for one in questions]
    return Errand(what, CHILD, [], _parse, request, TIMEOUT_SECONDS, enters_namespaces=True)


def _parse(answered: Any) -> list[list[Listener]]:
    return [[_listener(fields) for fields in found] for found in answered]


def _listener(fields: dict[str, Any]) -> Listener:
    holder = fields.pop("holder")
    return Listener(**fields, holder=Holder(**holder) if holder else None)


def _work() -> object:
    return [_holders(PortQuestion(**fields)) for fields in json.load(sys.stdin)]


def _holders(question: PortQuestion) -> list[dict[str, Any]]:
    try:
        found = find_holders(question.network, question.protocol, question.port)
    except KernelError:
        return []
    return [asdict(one) for one in found[:MAX_HOLDERS]]


if __name__ == "__main__":
    answer(_work)
