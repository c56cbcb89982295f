"""NAT rules as both of the kernel's packet filters have them: chains of branches."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class NatTable:
    """One table. `entries`: the chains that incoming packets enter, in their order."""

    name: str
    chains: dict[str, list[Branch]] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
