"""The port map: exact ranges, drawn where they belong."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, addresses_near, policies, ports_near, subjects

from portwatch.agent.web.blocks import NARROW, blocks
from portwatch.agent.web.known_ports import KnownPorts
from portwatch.agent.web.marks import Sign, marks
from portwatch.agent.web.portmap import MAX_KINDS, PortMap, PortMaps, Region
from portwatch.agent.web.scale import middle, position, width
from portwatch.agent.web.words import verdict_name
from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.owners import catalog_sets
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.outcomes import ALLOWED, DENIED, RECORDED, Outcome
from portwatch.policy.words.addresses import V4_WILDCARD, Address
from portwatch.policy.workload import Subject

PLAIN = Outcome(ALLOWED, None, None)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_map_says_what_decide_says(data: st.DataObject) -> None:
    """On every port the map has the verdict of decide() and its constraint, for any policy, subject
    and address; and of a bind to port 0 too."""
    policy = parse_policy([("p.yaml", data.draw(policies()))])
    subject = data.draw(subjects())
    address = data.draw(st.sampled_from(addresses_near(policy)))
    found = PortMaps(compile_policy(policy, ACCOUNTS)).of(subject, address)
    for protocol, regions in (("tcp", found.tcp), ("udp", found.udp)):
        assert (regions[0].first, regions[-1].last) == (1, 65535)
        for before, after in pairwise(regions):
            assert before.last + 1 == after.first
        for port in filter(None, ports_near(policy)):
            region = next(one for one in regions if one.first <= port <= one.last)
            decision = decide(policy, subject, Endpoint(protocol, port, address))
            assert verdict_name(region.outcome) == decision.verdict
            if decision.verdict != "allowed":
                assert region.outcome.constraint == decision.constraint
    picked = decide(policy, subject, Endpoint("tcp", 0, address))
    assert verdict_name(found.picked) == picked.verdict


def test_a_verdict_that_depends_on_the_address_says_so() -> None:
    """A port that is denied on loopback only is allowed elsewhere, and marked as varying."""
    text = (
        "version: 1\nmode: enforce\nconstraints: [{name: c, addresses: [loopback], deny: [80]}]\n"
    )
    maps = PortMaps(compile_policy(parse_policy([("p", text)]), ACCOUNTS))
    found = maps.of(Subject("/"), Address.parse("192.0.2.1"))
    assert [(one.first, one.last) for one in found.tcp if one.varies] == [(80, 80)]
    assert {one.outcome.verdict for one in found.tcp} == {ALLOWED}


def test_what_is_kept_is_bounded() -> None:
    """However many kinds of workloads are asked about, a bounded number of maps is kept."""
    names = [f"s{number}" for number in range(MAX_KINDS + 40)]
    constraints = ", ".join(f"{{name: {n}, for: {{unit: {n}.service}}, deny: [80]}}" for n in names)
    text = f"version: 1\nconstraints: [{constraints}]\n"
    maps = PortMaps(compile_policy(parse_policy([("p", text)]), ACCOUNTS))
    for name in names:
        maps.of(Subject(f"/system.slice/{name}.service"), V4_WILDCARD)
    assert len(maps._known) == MAX_KINDS
    assert maps._regions == sum(len(one.tcp) + len(one.udp) for one in maps._known.values())


def test_one_kind_is_worked_out_once() -> None:
    """Workloads that no constraint tells apart share one map."""
    maps = PortMaps(compile_policy(parse_policy([("p", "version: 1\n")]), ACCOUNTS))
    found: list[PortMap] = [maps.of(Subject(f"/{name}"), V4_WILDCARD) for name in "abc"]
    assert found[0] is found[1] is found[2]


@pytest.mark.parametrize(("port", "at"), [(1, 0.0), (256, 50.0), (4096, 75.0), (16, 25.0)])
def test_scale_is_logarithmic(port: int, at: float) -> None:
    """Each power of two is as far from the next as any other: 65536 of them are 16 steps."""
    assert position(port) == pytest.approx(at)
    assert position(port) < middle(port, port) < position(port) + width(port, port)


@given(st.lists(st.integers(1, 65535), unique=True, min_size=1, max_size=60))
def test_blocks_hold_every_port_once(cuts: list[int]) -> None:
    """Blocks cover the regions in order, none left out; only one that is narrow may be several."""
    firsts = sorted({1, *cuts})
    lasts = [first - 1 for first in firsts[1:]] + [65535]
    regions = [Region(a, b, PLAIN, False) for a, b in zip(firsts, lasts, strict=True)]
    found = list(blocks(regions))
    assert [region for block in found for region in block.regions] == regions
    for block in found:
        if len(block.regions) > 1:
            assert width(block.first, block.regions[-2].last) < NARROW


def test_the_weightiest_verdict_is_seen() -> None:
    """Where narrow regions are drawn as one, a denial is not hidden by what is allowed."""
    verdicts = (ALLOWED, RECORDED, DENIED, ALLOWED)
    regions = [
        Region(port, port, Outcome(verdict, "c" if verdict else None, None), False)
        for port, verdict in enumerate(verdicts, 50_000)
    ]
    assert [block.verdict for block in blocks(regions)] == [DENIED]


def test_marks_that_would_cover_one_another_are_one() -> None:
    """Signs side by side share a mark that says all of them, and stands where the violation is."""
    signs = [Sign(8080, False, "a", "/a"), Sign(8085, True, "b", "/b"), Sign(22, False, "c", "/c")]
    left, right = marks(signs)
    assert (left.text, right.text) == ("c", "a\nb")
    assert (left.is_against, right.is_against, right.link) == (False, True, "/b")
    assert right.at == pytest.approx(middle(8085, 8085))


def test_ports_are_called_what_explain_calls_them() -> None:
    """The map has the same name for a port as the first set that `catalog_sets` finds."""
    known = KnownPorts()
    for protocol in ("tcp", "udp"):
        for port in (22, 53, 80, 2375, 2379, 6443, 9100, 9999, 10250, 30000, 40000):
            found = catalog_sets(protocol, port)
            wanted = f"catalog:{found[0].name}, {found[0].description}" if found else ""
            assert known.words(protocol, port) == wanted
