"""NAT rules as both of the kernel's packet filters have them: chains of branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from portwatch.node.nat.traffic import Traffic

JUMP, GOTO, RETURN, FINAL, DNAT = "jump", "goto", "return", "final", "dnat"
"""What becomes of a packet: another chain and back, or for good; back to the chain before; let
through or dropped; sent elsewhere."""


class Branch(NamedTuple):
    """One thing that a rule does with some packets; a rule that looks up a map has many.

    `to`: the chain's name, or where it is sent, as `ADDRESS:PORT`, `:PORT` being this machine.
    """

    traffic: Traffic
    action: str
    to: str = ""
    comment: str = ""


class NatTable:
    """One table. `entries`: the chains that incoming packets enter, in their order. `read` makes
    the branches of a chain: of the thousands that Services make few lead to a node's own ports."""

    def __init__(self, name: str, entries: list[str], read: Callable[[str], list[Branch]]) -> None:
        self.name = name
        self.entries = entries
        self._read = read
        self._known: dict[str, list[Branch]] = {}

    def branches(self, chain: str) -> list[Branch]:
        """In order; none where there is no such chain."""
        if chain not in self._known:
            self._known[chain] = self._read(chain)
        return self._known[chain]
