"""Which selectors can match together, found by whom they match."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_strategies import (
    ACCOUNTS,
    CGROUPS,
    CONTAINER_ID,
    CONTAINERS,
    POD_UID,
    FixedAccounts,
    policies,
    subject,
    subjects,
)

from portwatch.policy.difference.predicates import HOST, Predicates, bit_numbers
from portwatch.policy.source.load import parse_policy
from portwatch.policy.workload import Selector

steady = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


def predicates_of(*selectors: Selector) -> Predicates:
    """Predicates on the machine of ACCOUNTS, those of the selectors from number 1 on."""
    predicates = Predicates(ACCOUNTS)
    for selector in selectors:
        predicates.bits_of([selector])
    return predicates


@given(st.data())
@steady
def test_whoever_there_is_is_found(data: st.DataObject) -> None:
    """What holds and fails for some subject has an example; what is read off patterns is true."""
    policy = parse_policy([("p", data.draw(policies(max_constraints=3)))])
    predicates = Predicates(ACCOUNTS)
    for constraint in policy.constraints:
        predicates.bits_of([*(constraint.subject_for or ()), *constraint.subject_except][:3])
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    for _ in range(5):
        who = data.draw(subjects())
        held = predicates.hold(who)
        for number in bit_numbers(held):
            assert not held & ~predicates.compatible(number)
            assert not predicates.implied(number) & ~held
        some = dice.getrandbits(len(predicates.selectors))
        some &= dice.getrandbits(len(predicates.selectors)) | 0b111
        holding, failing = held & some, some & ~held
        found = predicates.example(holding, failing)
        assert found is not None
        assert predicates.hold(found) & (holding | failing) == holding


@given(st.data())
@steady
def test_all_predicates_are_matched_at_once(data: st.DataObject) -> None:
    """What holds for a subject is what its selectors say one by one."""
    policy = parse_policy([("p", data.draw(policies()))])
    predicates = Predicates(ACCOUNTS)
    for constraint in policy.constraints:
        predicates.bits_of((*(constraint.subject_for or ()), *constraint.subject_except))
    who = data.draw(subjects())
    held = predicates.hold(who)
    assert bool(held & HOST) == who.host_network
    for number, selector in enumerate(predicates.selectors):
        assert selector is None or bool(held >> number & 1) == selector.matches(who)


NOBODY = [
    (Selector(unit=("a.service",)), Selector(unit=("b.service",))),
    (Selector(unit=("shop-*.service",)), Selector(unit=("ship-*.service",))),
    (Selector(unit=("a?.service",)), Selector(unit=("?b.socket",))),
    (Selector(unit=("a.service",)), Selector(cgroup=("/ci/**",))),
    (Selector(cgroup=("/a",)), Selector(cgroup=("/b",))),
    (Selector(cgroup=("/a/*",)), Selector(cgroup=("/b/**/c",))),
    (Selector(user=("ci",)), Selector(user=("alice",))),
    (Selector(user=(1,)), Selector(user=(2,))),
    (Selector(container=("db",)), Selector(container=("web-*",))),
    (Selector(pod=(POD_UID,)), Selector(pod=("ffff*",))),
]
SOMEBODY = [
    (Selector(unit=("a.service",)), Selector(slice=("b.slice",))),
    (Selector(slice=("a.slice",)), Selector(slice=("b.slice",))),
    (Selector(unit=("a?.service",)), Selector(unit=("?b.service",))),
    (Selector(cgroup=("/a",)), Selector(cgroup=("/a/b",))),
    (Selector(cgroup=("/**/a",)), Selector(cgroup=("/**/b",))),
    (Selector(user=("root",)), Selector(user=("toor",))),
    (Selector(user=(7,)), Selector(user=("bob",))),
    (Selector(container=("db",)), Selector(container=(CONTAINER_ID[:12],))),
    (Selector(image=("postgres",)), Selector(image=("nginx:*",))),
    (Selector(unit=("user@*.service",)), Selector(unit=("b.service",), user=(1,))),
]


@pytest.mark.parametrize("pair", NOBODY, ids=str)
def test_selectors_that_exclude_one_another(pair: tuple[Selector, Selector]) -> None:
    """Nobody matches both."""
    assert predicates_of(*pair).example(0b110, 0) is None


@pytest.mark.parametrize("pair", SOMEBODY, ids=str)
def test_selectors_that_go_together(pair: tuple[Selector, Selector]) -> None:
    """Somebody matches both, believed or claimed."""
    found = predicates_of(*pair).example(0b110, 0)
    assert found is not None
    assert all(selector.matches(found) for selector in pair)


IMPLIED = [
    (Selector(unit=("shop-a.service",)), Selector(unit=("shop-*.service",))),
    (Selector(unit=("shop-??.service",)), Selector(unit=("shop-*.service",))),
    (Selector(cgroup=("/ci/a/b",)), Selector(cgroup=("/ci/*",))),
    (Selector(image=("docker.io/library/nginx",)), Selector(image=("nginx",))),
    (Selector(unit=("a.service",)), Selector(unit=("a.service",), cgroup=("/**",))),
]


@pytest.mark.parametrize("pair", IMPLIED, ids=str)
def test_selectors_that_mean_less(pair: tuple[Selector, Selector]) -> None:
    """Nobody matches the first alone."""
    assert predicates_of(*pair).example(0b010, 0b100) is None


def test_names_of_one_id_are_the_machines() -> None:
    """Two account names go together only where the accounts give them to one id."""
    pair = [Selector(user=("root",)), Selector(user=("toor",))]
    alone = Predicates(FixedAccounts({"root": 0, "toor": 1}, {}))
    bits = alone.bits_of(pair)
    assert alone.example(bits, 0) is None
    assert predicates_of(*pair).example(0b110, 0) == subject("/", 0, 60000)


def test_the_subjects_of_these_tests_are_all_kinds() -> None:
    """The tests draw paths with claims and containers that are verified, or they test little."""
    assert any("user@" in path and "docker" in path for path in CGROUPS)
    assert {None, True, False} == {c and c.is_verified for c in CONTAINERS}
