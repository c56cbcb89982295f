"""NAT rules as the kernel hands them out, and as a packet would go through them."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portwatch.errors import KernelError
from portwatch.node.nat.ip_tables import VERSIONS, parse_table
from portwatch.node.nat.netlink import Refused, attributes, parse_messages
from portwatch.node.nat.nf_tables import branches_of, rule_comment
from portwatch.node.nat.published import Published, source_of, walk
from portwatch.node.nat.rules import DNAT, FINAL, GOTO, JUMP, RETURN, Branch, NatTable
from portwatch.node.nat.sets import MapElement
from portwatch.node.nat.traffic import Addresses, Traffic
from portwatch.node.nat.xt import match_traffic, target_text

HERE = Addresses.of(bytes((192, 0, 2, 1)))
LOOPBACK = Addresses.of(bytes((127, 0, 0, 0)), 8)
ELSEWHERE = Addresses.of(bytes((10, 96, 0, 1)))
TCP = frozenset((6,))


def table(**chains: list[Branch]) -> NatTable:
    """One whose packets enter at `pre`."""
    return NatTable("nat", ["pre"], lambda name: chains.get(name, []))


def walked(**chains: list[Branch]) -> list[tuple[int, str]]:
    """The first port and target of what is published."""
    found = walk([table(**chains)], [LOOPBACK, HERE])
    return [(one.first, one.target) for one in found]


def port(number: int, **more: object) -> Traffic:
    """TCP to one port."""
    return Traffic(protocols=TCP, ports=((number, number),), **more)  # type: ignore[arg-type]


def to(target: str = "10.0.0.2:80", traffic: Traffic | None = None) -> Branch:
    """A rule that sends elsewhere."""
    return Branch(traffic or Traffic(), DNAT, target)


ANY = Traffic()


def test_conditions_add_up_on_the_way() -> None:
    """A chain publishes what every rule on the way to it lets through, and nothing without a port:
    a redirect of all there is publishes none in particular."""
    assert walked(pre=[Branch(port(80), JUMP, "a")], a=[to()]) == [(80, "10.0.0.2:80")]
    assert walked(pre=[Branch(port(80), JUMP, "a")], a=[to(traffic=port(81))]) == []
    assert walked(pre=[to()]) == []


def test_who_comes_first_decides() -> None:
    """What ends for everyone hides what comes after it; a condition that is not known does not."""
    assert walked(pre=[Branch(ANY, FINAL), to(traffic=port(80))]) == []
    assert walked(pre=[Branch(ANY, RETURN), to(traffic=port(80))]) == []
    partly = Traffic(whole=False)
    assert walked(pre=[Branch(partly, RETURN), to(traffic=port(80))]) == [(80, "10.0.0.2:80")]
    assert walked(pre=[Branch(ANY, JUMP, "a"), to(traffic=port(80))], a=[Branch(ANY, FINAL)]) == []
    assert walked(pre=[Branch(ANY, GOTO, "a"), to(traffic=port(80))], a=[]) == []
    assert walked(pre=[Branch(ANY, JUMP, "a"), to(traffic=port(80))], a=[Branch(ANY, RETURN)])


def test_addresses_of_others_are_nobodys_ports_here() -> None:
    """A rule for an address that this machine does not have takes no port of it; one for a network
    takes those of its own addresses in there."""
    assert walked(pre=[to(traffic=port(80, addresses=(ELSEWHERE,)))]) == []
    network = Addresses.of(bytes((192, 0, 2, 0)), 24)
    (one,) = walk([table(pre=[to(traffic=port(80, addresses=(network,)))])], [HERE])
    assert one.address == "192.0.2.1"


def test_a_circle_of_chains_ends() -> None:
    """No kernel takes one, and no reader hangs on it: it goes as deep as rules may, and gives up
    with a sentence where they are without end."""
    assert walked(pre=[Branch(ANY, JUMP, "pre")]) == []
    around = [Branch(Traffic(whole=False), JUMP, "pre")] * 3
    with pytest.raises(KernelError, match="too many to follow"):
        walked(pre=around)


def test_targets_beside_the_first_are_counted() -> None:
    """A Service with three endpoints is one port with two more targets."""
    ends = [to(f"10.0.0.{n}:80", Traffic(whole=False)) for n in (3, 2, 1)]
    (one,) = walk([table(pre=[Branch(port(30080), JUMP, "svc", "a/b")], svc=ends)], [])
    assert (one.target, one.more, one.rule, one.comment) == ("10.0.0.1:80", 2, "pre", "a/b")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (("nat", "PREROUTING", "DOCKER"), "docker"),
        (("docker-bridges", "nat-prerouting"), "docker"),
        (("nat", "PREROUTING", "CNI-HOSTPORT-DNAT"), "cni-portmap"),
        (("cni_hostport", "prerouting"), "cni-portmap"),
        (("netavark", "PREROUTING"), "podman"),
        (("nat", "NETAVARK-HOSTPORT-DNAT"), "podman"),
        (("nat", "KUBE-SERVICES", "KUBE-NODEPORTS"), "kube-proxy"),
        (("kube-proxy", "services"), "kube-proxy"),
        (("nat", "KUBE-HOSTPORTS"), "kubelet"),
        (("mine", "pre"), "nat"),
    ],
)
def test_sources(path: tuple[str, ...], source: str) -> None:
    """Who writes a rule is known by the names that its author gives."""
    assert source_of(path) == source


def test_matches_of_iptables() -> None:
    """The structures of xt_tcp, xt_udp, xt_sctp and xt_multiport; what is turned round, or about
    the source, is a condition that is not known."""
    tcp = struct.pack("=4H4B", 0, 65535, 80, 90, 0, 0, 0, 0)
    assert match_traffic("tcp", tcp) == Traffic(protocols=TCP, ports=((80, 90),))
    inverted = struct.pack("=4H4B", 0, 65535, 80, 90, 0, 0, 0, 2)
    assert match_traffic("tcp", inverted) == Traffic(protocols=TCP, whole=False)
    udp = struct.pack("=4HB", 1, 2, 0, 65535, 0)
    assert match_traffic("udp", udp) == Traffic(protocols=frozenset((17,)))
    sctp = struct.pack("=4H", 7, 8, 0, 65535) + bytes(268) + struct.pack("=II", 2, 0)
    assert match_traffic("sctp", sctp).ports == ((7, 8),)
    ports = (80, 8000, 8010, *([0] * 12))
    multiport = struct.pack("=BB15H15sB", 1, 3, *ports, bytes((0, 1)) + bytes(13), 0)
    assert match_traffic("multiport", multiport).ports == ((80, 80), (8000, 8010))
    assert not match_traffic("multiport", b"\0" + multiport[1:]).whole
    assert match_traffic("addrtype", struct.pack("=HHI", 0, 4, 0)) == Traffic()
    assert match_traffic("addrtype", struct.pack("=HHI", 0, 4, 2)).ports == ()
    assert not match_traffic("addrtype", struct.pack("=HHI", 4, 0, 0)).whole
    assert not match_traffic("statistic", b"").whole


def test_targets_of_iptables() -> None:
    """DNAT of each revision, and REDIRECT, as people write them."""
    new = struct.pack("=I16s16s2s2s2s", 3, b"\x0a\0\0\x02", b"", b"\x1f\x90", b"\x1f\x90", b"")
    assert target_text("DNAT", 2, new, 4) == "10.0.0.2:8080"
    old = struct.pack("=II4s4s2s2s", 1, 3, b"\x0a\0\0\x02", b"", b"\0\x50", b"\0\x51")
    assert target_text("DNAT", 0, old, 4) == "10.0.0.2:80-81"
    assert target_text("REDIRECT", 0, old, 4) == ":80-81"
    six = struct.pack("=I16s16s2s2s", 3, bytes(15) + b"\x05", b"", b"\0\x50", b"\0\x50")
    assert target_text("DNAT", 1, six, 6) == "[::5]:80"
    assert target_text("MARK", 2, b"", 4) is None


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_in_a_sentence(data: bytes) -> None:
    """Whatever the kernel's answer is, it is read or refused; nothing else is ever raised."""
    for read in (
        lambda: list(parse_messages(data)),
        lambda: attributes(data),
        lambda: rule_comment(data),
        lambda: parse_table(0, data, VERSIONS[0]),
        lambda: parse_table(0, data, VERSIONS[1]),
    ):
        try:
            read()
        except Refused as err:
            assert err.message


names = st.sampled_from(
    (
        *("meta", "payload", "cmp", "range", "lookup", "immediate", "nat", "redir", "match"),
        *("target", "bitwise", "byteorder", "fib", "numgen", "counter", "what"),
    )
)
values = st.sampled_from(
    (b"\0\0\0\1", b"\0\0\0\2", b"\0\0\0\x09", b"DNAT\0", b"tcp\0", b"", b"\xff" * 70)
) | st.binary(max_size=24)


@given(st.lists(st.tuples(names, st.dictionaries(st.integers(1, 7), values)), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_expressions_are_refused_in_a_sentence(
    given_ones: list[tuple[str, dict[int, bytes]]],
) -> None:
    """The same of a rule whose expressions make no sense."""

    def packed(fields: dict[int, bytes]) -> bytes:
        parts = (
            struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
            for kind, data in fields.items()
        )
        return b"".join(parts)

    expressions = [{1: name.encode() + b"\0", 2: packed(fields)} for name, fields in given_ones]
    elements = [MapElement(b"\0\x50", b"", {1: b"x"}, 0), MapElement(b"", b"", {}, 1)]
    with contextlib.suppress(Refused):
        branches_of(expressions, (4, 6), lambda _: elements)


def test_published_is_told_as_it_is() -> None:
    """The record has no more than what was found."""
    one = Published("tcp", (4,), None, 80, 80, "nat", ":3128", "PREROUTING")
    assert (one.comment, one.more) == ("", 0)
