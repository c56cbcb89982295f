"""What a workload may bind, and whose a port is, agree with what decide() says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, addresses_near, policies, ports_near, subjects

from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.model import Policy
from portwatch.policy.owners import catalog_sets, owners
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.permitted import ANY_ADDRESS, permitted
from portwatch.policy.words.addresses import ADDRESS_WORDS, Address, networks_of
from portwatch.policy.words.port_text import coalesced, range_text
from portwatch.policy.words.ports import PROTOCOLS, PortRange
from portwatch.policy.workload import Subject

ANYWHERE = Address.parse("0.0.0.0")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_permitted_is_what_is_allowed(data: st.DataObject) -> None:
    """A port is among those that may be bound on an address exactly where decide() allows it, and
    on every address of a word that is named beside it."""
    policy = parse_policy([("p.yaml", data.draw(policies()))])
    subject = data.draw(subjects())
    address = data.draw(st.sampled_from(addresses_near(policy)))
    found = permitted(compile_policy(policy, ACCOUNTS), subject, "asked", address)
    _assert_allowed(policy, subject, address, found[0].ports, is_exact=True)
    for one in found:
        for word in one.addresses:
            for network in networks_of(word) if word in ADDRESS_WORDS else ():
                where = Address(network.value)
                _assert_allowed(policy, subject, where, one.ports, is_exact=False)


def test_a_word_has_what_all_its_addresses_have() -> None:
    """A port that one private network is refused is none of `private`, though it is one of the
    address that was asked about, where `private` has a network begin."""
    policy = parse_policy(
        [
            (
                "p.yaml",
                "version: 1\nmode: enforce\nconstraints:\n"
                "  - {name: x, addresses: [10.1.0.0/16], deny: [1]}\n",
            )
        ]
    )
    found = permitted(
        compile_policy(policy, ACCOUNTS), Subject("/"), "asked", Address.parse("172.16.0.0")
    )
    told = {word: one.ports[0].first for one in found for word in one.addresses}
    assert told == {"asked": 1, "private": 2, "10.1.0.0/16": 2}


def _assert_allowed(
    policy: Policy, subject: Subject, where: Address, ports: tuple[PortRange, ...], is_exact: bool
) -> None:
    for port in ports_near(policy):
        for protocol in PROTOCOLS:
            is_told = any(item.contains(protocol, port) for item in ports)
            verdict = decide(policy, subject, Endpoint(protocol, port, where)).verdict
            if is_told or is_exact:
                assert is_told == (verdict == "allowed"), (protocol, port, where)


@given(
    st.lists(st.tuples(st.sampled_from(PROTOCOLS), st.integers(1, 40), st.integers(1, 40))),
)
def test_coalesced_ranges_hold_just_these_ports(spans: list[tuple[str, int, int]]) -> None:
    """Ranges of several protocols come out as few ranges that hold the same ports, in order."""
    spans = [(protocol, min(a, b), max(a, b)) for protocol, a, b in spans]
    found = coalesced(spans)
    for protocol in PROTOCOLS:
        wanted = {p for name, a, b in spans if name == protocol for p in range(a, b + 1)}
        assert wanted == {p for p in range(1, 42) if any(r.contains(protocol, p) for r in found)}
    assert found == sorted(found, key=lambda item: item.first)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (PortRange(80, 80), "80"),
        (PortRange(80, 90, "tcp"), "80-90/tcp"),
        (PortRange(1, 65535), "all"),
        (PortRange(0, 0, "udp"), "ephemeral/udp"),
    ],
)
def test_ranges_are_written_as_in_policies(item: PortRange, text: str) -> None:
    """A range is shown as the word that a policy would have for it."""
    assert range_text(item) == text


POLICY = """\
version: 1
mode: enforce
constraints:
  - {name: etcd, except: {unit: [etcd.service, etcd2.service]}, deny: [2379-2380]}
  - {name: shop, for: {unit: shop.service}, addresses: [loopback], allow: [8000-8099, 2379]}
  - {name: pay, for: {unit: [pay.service, shop.service]}, allow: [8050/tcp]}
  - {name: rest, allow: [1]}
  - {name: late, for: {unit: late.service}, allow: [8050]}
"""


def owned(port: int, address: Address = ANYWHERE, protocol: str = "tcp") -> list[str]:
    """Whose a port is under POLICY."""
    policy = parse_policy([("p.yaml", POLICY)])
    return [str(one) for one in owners(policy, Endpoint(protocol, port, address))]


def test_a_port_is_kept_for_those_who_are_excepted() -> None:
    """Who is excepted where everybody else is denied owns the port; who is denied it does not, for
    all that a later list of his allows."""
    (kept,) = owned(2379, Address.parse("127.0.0.1"))
    assert kept == "kept for unit etcd.service or etcd2.service by etcd (p.yaml:4)"


def test_a_port_is_allowed_to_those_whose_list_has_it() -> None:
    """Who has the port, of that protocol and on that address, in an allow list may have it, unless
    an earlier constraint has denied it to all of them."""
    assert owned(8050, Address.parse("127.0.0.1")) == [
        "allowed to unit shop.service by shop (p.yaml:5)",
        "allowed to unit pay.service or shop.service by pay (p.yaml:6)",
    ]
    assert owned(8050) == ["allowed to unit pay.service or shop.service by pay (p.yaml:6)"]
    assert owned(8051) == []
    assert owned(8050, protocol="udp") == []
    assert owned(0) == []


def test_everywhere_the_same_is_one_answer() -> None:
    """Where addresses make no difference, they are not told apart."""
    policy = parse_policy([("p.yaml", POLICY)])
    first, *others = policy.constraints
    only = replace(policy, constraints=(first,))
    (one,) = permitted(compile_policy(only, ACCOUNTS), Subject("/x", 5), "0.0.0.0", ANYWHERE)
    assert one.addresses == (ANY_ADDRESS,)
    assert [range_text(item) for item in one.ports] == ["1-2378", "2381-65535"]
    assert others


def test_the_catalog_names_a_port() -> None:
    """A port has the name of the software it belongs to, not of a set of sets beside it."""
    names = [entry.name for entry in catalog_sets("tcp", 2379)]
    assert names[0] == "etcd"
    assert "kubernetes-control-plane" not in names
    assert catalog_sets("sctp", 2379) == []
