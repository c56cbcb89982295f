"""Addresses and address words: CIDRs, `loopback`, `wildcard`, `private`, `link-local`, `public`.

Every address is 128 bits wide, an IPv4 one as ::ffff:a.b.c.d. A network holds addresses of
one family only: `::/0` is native IPv6 and never swallows ::ffff:0:0/96.
Imports nothing of portwatch but `ports` (for BadWord).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from portwatch.policy.words.ports import BadWord

BITS = 128
V4_PREFIX = 0xFFFF << 32
V4_LENGTH = 96


@dataclass(frozen=True, slots=True)
class Address:
    """A bind address as a 128-bit `value`; `dual` marks `::` without IPV6_V6ONLY."""

    value: int
    dual: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an IPv4 or IPv6 address. Raises ValueError."""
        if "%" in text:
            raise ValueError(f"{text!r} has a scope id; leave it out")
        return cls.from_packed(ipaddress.ip_address(text).packed)

    @classmethod
    def from_packed(cls, packed: bytes) -> Address:
        """Read 4 or 16 bytes in network byte order."""
        value = int.from_bytes(packed, "big")
        return cls(V4_PREFIX | value if len(packed) == 4 else value)

    @property
    def packed(self) -> bytes:
        """The 16 bytes, network byte order."""
        return self.value.to_bytes(16, "big")

    @property
    def is_v4(self) -> bool:
        """Whether this is an IPv4 address, mapped or not."""
        return self.value >> 32 == 0xFFFF

    def __str__(self) -> str:
        if self.is_v4:
            return str(ipaddress.IPv4Address(self.value & 0xFFFFFFFF))
        return str(ipaddress.IPv6Address(self.value))


DUAL = Address(0, dual=True)
"""`::` without IPV6_V6ONLY: exposed on 0.0.0.0 and on `::`."""

V6_ONLY_WILDCARD = "::/v6only"

V4_WILDCARD = Address(V4_PREFIX)
V6_WILDCARD = Address(0)


def bind_address(text: str) -> Address:
    """Return the address that a socket binds: `::` is the dual-stack wildcard, as sockets have it
    by default, `::/v6only` the other one. Raises ValueError."""
    if text == V6_ONLY_WILDCARD:
        return V6_WILDCARD
    address = Address.parse(text)
    return DUAL if text == "::" else address


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """A prefix of one family: the upper `length` (0-128) bits of `value`, the rest zero."""

    value: int
    length: int

    @property
    def is_v4(self) -> bool:
        """Whether this network holds IPv4 addresses: it lies within ::ffff:0:0/96."""
        return self.length >= V4_LENGTH and self.value >> 32 == 0xFFFF

    def contains(self, address: Address) -> bool:
        """Return whether `address` (taken as not dual) lies in this network."""
        same_prefix = (address.value ^ self.value) >> (BITS - self.length) == 0
        return same_prefix and address.is_v4 == self.is_v4


@dataclass(frozen=True, slots=True)
class AddressEntry:
    """One word of an `addresses` list, and the networks that it stands for."""

    word: str
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class AddressSet:
    """An `addresses` list."""

    entries: tuple[AddressEntry, ...]

    def find(self, address: Address) -> str | None:
        """Return the first word that means `address` (taken as not dual), None where none does."""
        for entry in self.entries:
            for network in entry.networks:
                if network.contains(address):
                    return entry.word
        return None

    def exposes(self, address: Address) -> bool:
        """Return whether a `deny` list means `address`: for DUAL, whether either half."""
        if address.dual:
            return any(self.find(half) is not None for half in (V4_WILDCARD, V6_WILDCARD))
        return self.find(address) is not None

    def covers(self, address: Address) -> bool:
        """Return whether an `allow` list means `address`: for DUAL, whether both halves."""
        if address.dual:
            return all(self.find(half) is not None for half in (V4_WILDCARD, V6_WILDCARD))
        return self.find(address) is not None

    @property
    def networks(self) -> frozenset[Network]:
        """All networks of all words."""
        return frozenset(network for entry in self.entries for network in entry.networks)


ADDRESS_WORDS = ("loopback", "wildcard", "private", "link-local", "public")

_NETWORKS = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "wildcard": ("0.0.0.0/32", "::/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
}

# IANA IPv4 and IPv6 Special-Purpose Address Registries. Public is what the first list holds
# (IPv6: the one block that global unicast is allocated from, and NAT64), less the second
# ("globally reachable" false or not applicable; multicast; future use), and the third again
# (blocks within the second that the registries do call globally reachable).
_UNICAST = ("0.0.0.0/0", "2000::/3", "64:ff9b::/96")
_RESERVED = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
)
_REACHABLE = (
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)


@cache
def networks_of(word: str) -> tuple[Network, ...]:
    """Return the networks of one of ADDRESS_WORDS."""
    if word != "public":
        return tuple(parse_network(text) for text in _NETWORKS[word])
    public = [parse_network(text) for text in _UNICAST]
    for reserved in map(parse_network, _RESERVED):
        public = [rest for network in public for rest in _without(network, reserved)]
    return tuple(sorted([*public, *map(parse_network, _REACHABLE)]))


def parse_network(text: str) -> Network:
    """Read a CIDR or a single address. Raises BadWord, with the mended text where it is near."""
    if "%" in text:
        raise BadWord("an address has no scope id here; leave out the `%` part")
    address, slash, length = text.partition("/")
    try:
        host = ipaddress.ip_address(address)
        if not slash:
            return Network(Address.from_packed(host.packed).value, BITS)
        parsed = ipaddress.ip_network(text, strict=False)
    except ValueError as err:
        raise BadWord("not an address or CIDR") from err
    if not length.isdigit():
        raise BadWord(f"write the prefix as a length: did you mean `{parsed}`?")
    if host != parsed.network_address:
        raise BadWord(f"host bits are set; did you mean `{parsed}`?")
    value = int(parsed.network_address)
    if parsed.version == 4:
        return Network(V4_PREFIX | value, V4_LENGTH + parsed.prefixlen)
    return Network(value, parsed.prefixlen)


def _without(network: Network, hole: Network) -> Iterable[Network]:
    """Yield the networks that make up `network` less `hole`, by halving."""
    if hole.is_v4 != network.is_v4:
        yield network
    elif hole.length <= network.length:
        if (hole.value ^ network.value) >> (BITS - hole.length):
            yield network
    elif (hole.value ^ network.value) >> (BITS - network.length):
        yield network
    else:
        length = network.length + 1
        for value in (network.value, network.value | 1 << (BITS - length)):
            yield from _without(Network(value, length), hole)
