"""Port words, address words, the catalog: what each stands for."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portwatch.policy.catalog.catalog import catalog
from portwatch.policy.words.addresses import (
    ADDRESS_WORDS,
    DUAL,
    Address,
    AddressEntry,
    AddressSet,
    Network,
    networks_of,
    parse_network,
)
from portwatch.policy.words.ports import BadWord, PortRange, parse_port


def word_set(word: str) -> AddressSet:
    """Return the addresses of one word."""
    networks = networks_of(word) if word in ADDRESS_WORDS else (parse_network(word),)
    return AddressSet((AddressEntry(word, networks),))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (8080, PortRange(8080, 8080)),
        ("8080", PortRange(8080, 8080)),
        ("8000-8099", PortRange(8000, 8099)),
        ("1-65535/udplite", PortRange(1, 65535, "udplite")),
        ("53/udp", PortRange(53, 53, "udp")),
        ("7-7/sctp", PortRange(7, 7, "sctp")),
        ("all", PortRange(1, 65535)),
        ("all/tcp", PortRange(1, 65535, "tcp")),
        ("privileged", PortRange(1, 1023)),
        ("ephemeral", PortRange(0, 0)),
        ("ephemeral/udp", PortRange(0, 0, "udp")),
        ("web", None),
        ("catalog:etcd", None),
    ],
)
def test_port_words(word: str | int, expected: PortRange | None) -> None:
    """A port word is one range; `all` is every port but ephemeral, which is its own."""
    assert parse_port(word) == expected


@pytest.mark.parametrize("word", [0, -1, 65536, "0", "0-5", "5-4", "1/dccp", "1/TCP", "01", "1/"])
def test_bad_port_words(word: str | int) -> None:
    """What looks like a port and is none is refused."""
    with pytest.raises(BadWord):
        parse_port(word)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", {"loopback"}),
        ("127.255.255.255", {"loopback"}),
        ("::1", {"loopback"}),
        ("::ffff:127.0.0.1", {"loopback"}),
        ("0.0.0.0", {"wildcard"}),
        ("::", {"wildcard"}),
        ("10.255.255.255", {"private"}),
        ("172.15.255.255", {"public"}),
        ("172.16.0.0", {"private"}),
        ("172.32.0.0", {"public"}),
        ("192.168.1.1", {"private"}),
        ("fc00::1", {"private"}),
        ("fdff::1", {"private"}),
        ("fe00::1", set()),
        ("169.254.1.1", {"link-local"}),
        ("fe80::1", {"link-local"}),
        ("febf::1", {"link-local"}),
        ("fec0::1", set()),
        ("8.8.8.8", {"public"}),
        ("::ffff:8.8.8.8", {"public"}),
        ("2606:4700::1111", {"public"}),
        ("100.64.0.1", set()),
        ("192.0.2.1", set()),
        ("198.18.0.1", set()),
        ("203.0.113.9", set()),
        ("224.0.0.1", set()),
        ("240.0.0.1", set()),
        ("255.255.255.255", set()),
        ("0.0.0.1", set()),
        ("192.0.0.9", {"public"}),
        ("192.0.0.8", set()),
        ("2001:db8::1", set()),
        ("2001::1", set()),
        ("2001:200::1", {"public"}),
        ("2002::1", set()),
        ("3fff::1", set()),
        ("3fff:1000::", {"public"}),
        ("ff02::1", set()),
        ("64:ff9b::1", {"public"}),
        ("::2", set()),
    ],
)
def test_address_words(address: str, words: set[str]) -> None:
    """Every address is in the one word that its kind has, IPv4-mapped or not."""
    parsed = Address.parse(address)
    assert {word for word in ADDRESS_WORDS if word_set(word).find(parsed)} == words


@given(st.ip_addresses(v=4))
@settings(derandomize=True, deadline=None, max_examples=500)
def test_public_v4_is_what_the_standard_library_calls_global(
    address: ipaddress.IPv4Address,
) -> None:
    """public agrees with ipaddress, but for the retired 6to4 relay and multicast."""
    public = word_set("public").find(Address.parse(str(address))) is not None
    relay = address in ipaddress.IPv4Network("192.88.99.0/24")
    assert public == (address.is_global and not address.is_multicast and not relay)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "::1"]),
        ("::/0", ["::", "ffff::", "::fffe:1.2.3.4"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3"], ["11.0.0.0", "::a00:0"]),
        ("::fffe:0:0/95", ["::fffe:1.2.3.4"], ["1.2.3.4"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.2", "10.1.2.4"]),
    ],
)
def test_networks(network: str, inside: list[str], outside: list[str]) -> None:
    """A network holds its own family; a mapped one is the IPv4 network that it maps."""
    addresses = word_set(network)
    assert all(addresses.find(Address.parse(text)) for text in inside)
    assert not any(addresses.find(Address.parse(text)) for text in outside)


def test_mapped_networks_are_v4_networks() -> None:
    """::ffff:10.0.0.0/104 is 10.0.0.0/8, written otherwise."""
    assert parse_network("::ffff:10.0.0.0/104") == parse_network("10.0.0.0/8")
    assert parse_network("10.0.0.0/8") == Network(0xFFFF0A000000, 104)


@pytest.mark.parametrize(
    ("word", "exposed", "covered"),
    [
        ("wildcard", True, True),
        ("0.0.0.0/0", True, False),
        ("::/0", True, False),
        ("0.0.0.0", True, False),
        ("::", True, False),
        ("loopback", False, False),
    ],
)
def test_dual_stack_wildcard(word: str, exposed: bool, covered: bool) -> None:
    """`::` without V6ONLY is denied where either half is, and allowed only where both are."""
    assert word_set(word).exposes(DUAL) == exposed
    assert word_set(word).covers(DUAL) == covered


@pytest.mark.parametrize("text", ["1.2.3.4", "::1", "fe80::1", "::ffff:1.2.3.4", "::"])
def test_addresses_print_as_they_are_read(text: str) -> None:
    """str() of an address reads back as the same, and packed is 16 bytes of it."""
    address = Address.parse(text)
    assert Address.parse(str(address)) == address == Address.from_packed(address.packed)


def test_catalog_is_well_formed() -> None:
    """Every entry has ports, a description and a source; the named ones have their ports."""
    entries = catalog()
    assert all(entry.ranges and entry.description and entry.source for entry in entries.values())
    for name, port in (
        ("etcd", 2379), ("ssh", 22), ("dns", 53), ("postgres", 5432), ("mysql", 3306),
        ("redis", 6379), ("mongodb", 27017), ("prometheus", 9090), ("node-exporter", 9100),
        ("container-engines", 2375), ("kubernetes-control-plane", 6443), ("brokers", 9092),
        ("kubernetes-node", 10250), ("databases", 5432), ("debuggers", 5005),
        ("debuggers", 9229), ("debuggers", 5678), ("debuggers", 2345),
    ):  # fmt: skip
        assert any(item.contains("tcp", port) for item in entries[name].ranges), name
