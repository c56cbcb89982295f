"""The registers of nf_tables while a rule is run over every connection at once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from portwatch.node.nat.rules import Branch
from portwatch.node.nat.traffic import Traffic

REGISTER_BYTES, WORD = 16, 4

PROTOCOL, PORT, ADDRESS, FAMILY, LOCALITY, OTHER = range(6)
"""What a register can hold of a packet."""


class Loaded(NamedTuple):
    """A part of the packet in a register: what, how many bytes, and, of an address, which bits."""

    what: int
    size: int
    mask: bytes = b""


class State(NamedTuple):
    """Connections that got as far as this in a rule, and the registers for them."""

    traffic: Traffic
    loaded: Mapping[int, Loaded] = MappingProxyType({})
    constants: Mapping[int, bytes] = MappingProxyType({})
    branch: Branch | None = None

    def narrowed(self, traffic: Traffic) -> State | None:
        """Those of them that are among others, too; None where none are."""
        both = self.traffic.narrowed(traffic)
        return None if both is None else self._replace(traffic=both)

    def with_loaded(self, place: int, part: Loaded) -> State:
        """With a part of the packet in a register."""
        constants = {at: data for at, data in self.constants.items() if at != place}
        return self._replace(loaded={**self.loaded, place: part}, constants=constants)

    def with_constant(self, place: int, data: bytes) -> State:
        """With bytes from a register on: a tuple's parts lie in one after the other."""
        loaded = {at: part for at, part in self.loaded.items() if at != place}
        return self._replace(loaded=loaded, constants={**self.constants, place: data})

    def constant(self, place: int) -> bytes:
        """What lies there and behind; empty where that is no constant."""
        for at, data in self.constants.items():
            if at <= place < at + len(data):
                return data[place - at :]
        return b""


def place(register: int) -> int:
    """Where a register begins: four of 16 bytes (1 to 4), or sixteen words over them (from 8)."""
    return (register - 1) * REGISTER_BYTES if register < 8 else (register - 8) * WORD
