"""Which packets a rule is about, as far as ports are concerned: protocol, port, address."""

from __future__ import annotations

from typing import NamedTuple

Range = tuple[int, int]
"""First and last, both included."""

ALL_BITS = {4: 32, 6: 128}


class Addresses(NamedTuple):
    """Destination addresses of one IP version, as numbers."""

    family: int
    first: int
    last: int

    @classmethod
    def of(cls, address: bytes, prefix_bits: int | None = None) -> Addresses:
        """One address of 4 or 16 bytes, or the network that its first bits make."""
        family = 4 if len(address) == 4 else 6
        free = ALL_BITS[family] - (ALL_BITS[family] if prefix_bits is None else prefix_bits)
        first = int.from_bytes(address) >> free << free
        return cls(family, first, first | (1 << free) - 1)


class Traffic(NamedTuple):
    """New connections; None: whatever it is. `families` are IP versions, `protocols` numbers.

    `whole` is False where there are conditions beside these, such as the interface.
    """

    families: frozenset[int] = frozenset((4, 6))
    protocols: frozenset[int] | None = None
    ports: tuple[Range, ...] | None = None
    addresses: tuple[Addresses, ...] | None = None
    whole: bool = True

    def narrowed(self, other: Traffic) -> Traffic | None:
        """What is in both; None where nothing is."""
        families = self.families & other.families
        addresses = _both_addresses(self.addresses, other.addresses)
        if addresses is not None:
            families &= {one.family for one in addresses}
        protocols = (
            self.protocols & other.protocols
            if self.protocols is not None and other.protocols is not None
            else self.protocols
            if other.protocols is None
            else other.protocols
        )
        ports = _both_ports(self.ports, other.ports)
        if not families or any(
            not found for found in (protocols, ports, addresses) if found is not None
        ):
            return None
        return Traffic(families, protocols, ports, addresses, self.whole and other.whole)

    @property
    def is_all(self) -> bool:
        """Whether there is no condition at all."""
        return self.whole and self[1:4] == (None, None, None)


NOTHING = Traffic(ports=())
"""No connection at all."""


def _both_ports(
    one: tuple[Range, ...] | None, other: tuple[Range, ...] | None
) -> tuple[Range, ...] | None:
    if one is None or other is None:
        return one if other is None else other
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple(pair for pair in pairs if pair[0] <= pair[1])


def _both_addresses(
    one: tuple[Addresses, ...] | None, other: tuple[Addresses, ...] | None
) -> tuple[Addresses, ...] | None:
    if one is None or other is None:
        return one if other is None else other
    both = (
        Addresses(a.family, max(a.first, b.first), min(a.last, b.last))
        for a in one
        for b in other
        if a.family == b.family
    )
    return tuple(found for found in both if found.first <= found.last)
