"""What changes between two policies: all of it, nothing else, and in few words."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_strategies import (
    ACCOUNTS,
    addresses_near,
    all_subjects,
    binds,
    policies,
    ports_near,
)

from portwatch.cli.diff import diff
from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.difference import effort
from portwatch.policy.difference.difference import Difference, Region
from portwatch.policy.difference.effort import THOROUGH, Effort
from portwatch.policy.difference.endpoints import EndpointSpace
from portwatch.policy.difference.predicates import Predicates
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.lookups import VERDICTS
from portwatch.policy.tables.outcomes import Outcome
from portwatch.policy.words.ports import PROTOCOLS
from portwatch.policy.workload import Subject

SEARCHED = Effort(steps=20_000, least_steps=20_000, looks=5_000, cells=1_000)
"""Enough for all but the rare policies whose workloads take minutes to tell apart."""

steady = settings(
    derandomize=True, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck)
)


def parse(text: str) -> Policy:
    """Parse one policy file."""
    return parse_policy([("policy.yaml", text)])


def enforced(*constraints: str, head: str = "") -> Policy:
    """A policy of constraints in flow style."""
    lines = "".join(f"\n  - {{{constraint}}}" for constraint in constraints)
    return parse(f"version: 1\nmode: enforce\n{head}\nconstraints:{lines or ' []'}\n")


def told(old: Policy, new: Policy) -> list[str]:
    """Every region of binds as one line; listeners on picked ports left out."""
    return [
        f"{VERDICTS[region.old.verdict]} → {VERDICTS[region.new.verdict]}: "
        f"{'; '.join(who.text() for who in region.subjects)}: {area.kind} {ports} {area.addresses}"
        for region in Difference(old, new, ACCOUNTS).regions
        for area in region.areas
        if area.kind != "listening"
        for ports in [",".join(f"{first}-{last}" for first, last in area.ports)]
    ]


def outcome(policy: Policy, who: Subject, endpoint: Endpoint) -> Outcome:
    """What decide() says, as far as a difference tells it."""
    decision = decide(policy, who, endpoint)
    verdict = VERDICTS.index(decision.verdict)
    return Outcome(verdict, decision.constraint if verdict else None, decision.errno)


def assert_examples_hold(old: Policy, new: Policy, regions: tuple[Region, ...]) -> None:
    """Every region has a bind that the whole policies judge as it says."""
    for region in regions:
        assert region.example is not None
        who, endpoint = region.example
        assert outcome(old, who, endpoint) == region.old
        assert outcome(new, who, endpoint) == region.new
        assert region.old != region.new


def with_examples(found: Difference) -> tuple[Region, ...]:
    """The regions for which the search came as far as an example; the others may be nobody's."""
    return tuple(region for region in found.regions if region.example)


@st.composite
def edited(draw: st.DrawFn, policy: Policy, other: Policy) -> Policy:
    """Draw a policy that was edited as people do: a constraint more, less, moved or replaced."""
    constraints = list(policy.constraints)
    strange = [replace(c, name=f"new-{c.name}") for c in other.constraints]
    place = draw(st.integers(0, len(constraints)))
    how = draw(st.sampled_from(("insert", "remove", "move", "replace", "mode")))
    if how == "insert":
        constraints[place:place] = strange[:1]
    elif how == "remove":
        del constraints[place : place + 1]
    elif how == "move" and constraints:
        constraints.insert(place, constraints.pop(0))
    elif how == "replace":
        constraints[place : place + 1] = strange[:1]
    return replace(policy, constraints=tuple(constraints), default=other.default)


@given(st.data())
@steady
def test_a_bind_changes_just_where_a_region_says(data: st.DataObject) -> None:
    """Of any two policies, any bind lies in a region exactly where its outcome changes, and then
    changes as the region says."""
    old, other = (parse(data.draw(policies(max_constraints=3))) for _ in "ab")
    new = data.draw(edited(old, other)) if data.draw(st.booleans()) else other
    found = Difference(old, new, ACCOUNTS, SEARCHED)
    if not found.is_complete:  # one in a hundred or so
        return
    assert_examples_hold(old, new, with_examples(found))
    seed = data.draw(st.integers(0, 1 << 32))
    for who, endpoint in (*binds(old, seed, 40), *binds(new, seed, 40)):
        pair = outcome(old, who, endpoint), outcome(new, who, endpoint)
        region = found.region_of(who, endpoint)
        assert (region and (region.old, region.new)) == (None if pair[0] == pair[1] else pair)


def representatives(old: Policy, new: Policy) -> Iterator[tuple[Subject, Endpoint]]:
    """Every bind, of subjects and endpoints of these tests, that the policies can tell apart."""
    predicates, space = Predicates(ACCOUNTS), EndpointSpace((old, new))
    for constraint in (*old.constraints, *new.constraints):
        predicates.bits_of((*(constraint.subject_for or ()), *constraint.subject_except))
    subjects = {predicates.hold(who): who for who in all_subjects()}
    every = {}
    for where in (*addresses_near(old), *addresses_near(new)):
        for port in {0, *ports_near(old), *ports_near(new)}:
            for protocol in PROTOCOLS:
                kinds = [(False, False), (True, False), (True, True)]
                for picked, listening in kinds[: 1 if not port else 3 if protocol == "tcp" else 2]:
                    endpoint = Endpoint(protocol, port, where, picked, listening)
                    every[space.bit_of(endpoint)] = endpoint
    yield from product(subjects.values(), every.values())


@given(st.data())
@settings(steady, max_examples=40)
def test_no_region_means_no_difference(data: st.DataObject) -> None:
    """Over all that two policies tell apart, each bind changes just as its region says, and there
    is no region where none does."""
    old, other = (parse(data.draw(policies(max_constraints=2))) for _ in "ab")
    new = data.draw(edited(old, other))
    found = Difference(old, new, ACCOUNTS, SEARCHED)
    if not found.is_complete:  # one in a hundred or so
        return
    assert_examples_hold(old, new, with_examples(found))
    for who, endpoint in islice(representatives(old, new), 3000):
        pair = outcome(old, who, endpoint), outcome(new, who, endpoint)
        region = found.region_of(who, endpoint)
        assert (region and (region.old, region.new)) == (None if pair[0] == pair[1] else pair)


@given(policies())
@steady
def test_a_policy_does_not_differ_from_itself(text: str) -> None:
    """The same policy twice has no region, in whatever file it stands."""
    new = parse_policy([("other.yaml", "# a comment\n" + text)])
    assert not Difference(parse(text), new, ACCOUNTS).regions


SHOP = "name: shop, for: {unit: shop-*.service}, allow: [8000-8099]"
ETCD = "name: etcd, except: {unit: etcd.service}, deny: [2379-2380]"

ALIKE = {
    "defined names": (
        enforced("name: a, for: shop, deny: [web]", head="define: {ports: {web: [80, 81]}, "
                 "workloads: {shop: {unit: [a.service, b.service]}}}"),
        enforced("name: a, for: [{unit: a.service}, {unit: b.service}], deny: [80-81]"),
    ),
    "order of strangers": (
        enforced("name: a, for: {unit: a.service}, deny: [80]", "name: b, for: "
                 "{unit: b.service}, deny: [80]"),
        enforced("name: b, for: {unit: b.service}, deny: [80]", "name: a, for: "
                 "{unit: a.service}, deny: [80]"),
    ),
    "a selector that is in another": (
        enforced("name: a, for: {unit: shop-*}, deny: [80]"),
        enforced("name: a, for: [{unit: shop-*}, {unit: shop-a.service}], deny: [80]"),
    ),
    "a selector that matches nobody": (
        enforced("name: a, deny: [80]"),
        enforced("name: z, for: {unit: etcd.service, cgroup: /ci}, allow: [80]",
                 "name: a, deny: [80]"),
    ),
    "what is decided before": (
        enforced("name: a, deny: [80]"),
        enforced("name: a, deny: [80]", "name: b, allow: [80], otherwise: continue"),
    ),
    "addresses by halves": (
        enforced("name: a, addresses: [10.0.0.0/8], deny: [80]"),
        enforced("name: a, addresses: [10.0.0.0/9, 10.128.0.0/9], deny: [80]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", ALIKE.values(), ids=ALIKE)
def test_policies_that_mean_the_same_do_not_differ(pair: tuple[Policy, Policy]) -> None:
    """However a policy is written, only its meaning is compared."""
    assert not Difference(*pair, ACCOUNTS).regions


CHANGES = {
    "a port more": (
        enforced(SHOP),
        enforced(SHOP.replace("8099", "8100")),
        ["denied → allowed: unit shop-*.service: asked 8100-8100 any"],
    ),
    "a selector more": (
        enforced(ETCD),
        enforced(ETCD.replace("{unit: etcd.service}", "{unit: [etcd.service, etcd-b.service]}")),
        [
            "denied → allowed: unit etcd-b.service: asked 2379-2380 any",
            "denied → allowed: unit etcd-b.service: picked 2379-2380 any",
        ],
    ),
    "a glob narrowed": (
        enforced("name: a, for: {unit: shop-*.service}, deny: [80/udp], otherwise: allow"),
        enforced("name: a, for: {unit: shop-a.service}, deny: [80/udp], otherwise: allow"),
        [
            "denied → allowed: unit shop-*.service but unit shop-a.service: asked 80-80 any",
            "denied → allowed: unit shop-*.service but unit shop-a.service: picked 80-80 any",
        ],
    ),
    "a constraint tried out": (
        enforced("name: a, for: {user: ci}, allow: [ephemeral], otherwise: deny"),
        enforced("name: a, for: {user: ci}, allow: [ephemeral], otherwise: deny, mode: record"),
        ["denied → recorded: user ci: asked 1-65535 any"],
    ),
    "the default": (
        enforced("name: a, for: {unit: a.service}, allow: [80]"),
        enforced("name: a, for: {unit: a.service}, allow: [80]", head="default: deny"),
        ["allowed → denied: everyone but unit a.service: asked 1-65535 any"],
    ),
    "ephemeral": (
        enforced(),
        enforced("name: a, for: {unit: a.service}, deny: [ephemeral]"),
        [
            "allowed → denied: unit a.service: asked 0-0 any",
            "allowed → denied: unit a.service: picked 1-65535 any",
        ],
    ),
    "addresses": (
        enforced("name: a, addresses: [loopback], allow: [80], otherwise: deny"),
        enforced("name: a, addresses: [loopback, private], allow: [80], otherwise: deny"),
        ["denied → allowed: everyone: asked 80-80 private"],
    ),
    "all addresses but": (
        enforced("name: a, addresses: [loopback], allow: [80], otherwise: deny"),
        enforced("name: a, allow: [80], otherwise: deny"),
        ["denied → allowed: everyone: asked 80-80 any but loopback"],
    ),
    "the network": (
        enforced("name: a, deny: [80], otherwise: allow"),
        enforced("name: a, deny: [80], otherwise: allow, network: host"),
        [
            "denied → allowed: everyone, in a network of its own: asked 80-80 any",
            "denied → allowed: everyone, in a network of its own: picked 80-80 any",
        ],
    ),
    "the errno": (
        enforced("name: a, allow: [80]"),
        enforced("name: a, allow: [80], errno: EPERM"),
        ["denied → denied: everyone: asked 1-79,81-65535 any"],
    ),
    "the order": (
        enforced("name: a, for: {unit: a*.service}, allow: [1]", "name: b, for: "
                 "{unit: '*b.service'}, allow: [2]"),
        enforced("name: b, for: {unit: '*b.service'}, allow: [2]", "name: a, for: "
                 "{unit: a*.service}, allow: [1]"),
        [
            "allowed → denied: unit a*.service and unit *b.service: asked 1-1 any",
            "denied → allowed: unit a*.service and unit *b.service: asked 2-2 any",
            "denied → denied: unit a*.service and unit *b.service: asked 3-65535 any",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_told_in_few_words(change: tuple[Policy, Policy, list[str]]) -> None:
    """A change is told as the policy would say it, with an example for each region."""
    old, new, lines = change
    assert sorted(told(old, new)) == sorted(lines)
    assert_examples_hold(old, new, Difference(old, new, ACCOUNTS).regions)


def test_a_listener_alone_may_change() -> None:
    """Where a list allows `ephemeral`, a listener there is judged by it and not by its port."""
    listed = "name: a, for: {unit: a.service}, allow: [ephemeral], otherwise: deny"
    old, new = enforced(listed), enforced(listed.replace("allow: [ephemeral]", "deny: []"))
    regions = Difference(old, new, ACCOUNTS).regions
    assert [{area.kind for area in region.areas} for region in regions] == [{"listening"}]
    assert (regions[0].old.verdict, regions[0].new.verdict) == (0, 2)
    assert_examples_hold(old, new, regions)


def thousand(*, without: int | None = None) -> list[str]:
    """Constraints of a thousand services."""
    return [
        f"name: c{n}, for: {{unit: svc-{n}.service}}, allow: [{1024 + 19 * n}-{1033 + 19 * n}]"
        for n in range(1000)
        if n != without
    ]


def test_one_change_among_a_thousand_constraints_is_one_region() -> None:
    """What stayed as it was takes no part, in whatever order it stands."""
    old, constraints = enforced(*thousand()), thousand(without=500)
    random.Random(1).shuffle(constraints)
    ports = "1-10523,10534-65535"
    line = f"denied → allowed: unit svc-500.service: asked {ports} any"
    assert told(old, enforced(*constraints)) == [line]


def test_too_many_changes_are_said_to_be_more() -> None:
    """Past its bound the search ends, says so, and has something to show."""
    found = Difference(enforced(*thousand()), enforced(), ACCOUNTS, Effort(cells=100))
    assert not found.is_complete
    assert 50 < len(found.regions) <= 100


def test_verdicts_come_before_what_changes_less() -> None:
    """Where not all can be looked for, whether all changes of verdicts were found is told, and they
    are there."""
    old = thousand()[:50]
    new = [text.replace("name: c", "name: d") for text in old[:49]]
    found = Difference(enforced(*old), enforced(*new), ACCOUNTS, Effort(cells=20))
    assert found.has_all_verdicts
    assert not found.is_complete
    shown = [region for region in found.regions if region.changes_verdict]
    assert {who.text() for region in shown for who in region.subjects} == {"unit svc-49.service"}


def test_reading_has_a_bound() -> None:
    """Past the bound of steps what was found is told, and that there may be more; without a bound
    there is no more."""
    old = enforced(*thousand()[:100])
    found = Difference(old, enforced(), ACCOUNTS, Effort(steps=30, least_steps=10))
    whole = Difference(old, enforced(), ACCOUNTS, THOROUGH)
    assert whole.is_complete
    assert len(whole.regions) > len(found.regions)
    assert not found.has_all_verdicts
    assert found.regions
    assert_examples_hold(old, enforced(), found.regions)


def test_what_was_not_looked_for_is_never_no_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the bound ends the search before anything is found, diff does not say that the two
    decide alike: exit status 1. `--thorough` finds it."""
    monkeypatch.setattr(effort, "QUICK", Effort(steps=1))
    for name, deny in (("old", 80), ("new", 81)):
        text = f"version: 1\nmode: enforce\nconstraints: [{{name: a, deny: [{deny}]}}]\n"
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / "old"), str(tmp_path / "new")]
    done = CliRunner().invoke(diff, paths)
    assert done.exit_code == 1
    assert "not all" in done.output
    assert "1 newly denied" in CliRunner().invoke(diff, ["--thorough", *paths]).output


def test_what_is_too_hard_to_say_is_told_all_the_same() -> None:
    """Where no subject can be sought, a change that there may be is told, without an example."""
    old = enforced("name: a, for: {unit: 'a?.service', cgroup: '/**/x'}, deny: [80]")
    regions = Difference(old, enforced(), ACCOUNTS, Effort(looks=0)).regions
    assert {region.example for region in regions} == {None}
    assert regions[0].subjects[0].matching == old.constraints[0].subject_for
