"""What is told unreachable or unused can go; what is not told unreachable decides somewhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import addresses_near, binds, policies, ports_near

from portwatch.policy.decide import Decision, Endpoint, decide
from portwatch.policy.lint.entries import REPEATED, UNUSED, unused_entries
from portwatch.policy.lint.lint import lint
from portwatch.policy.lint.reach import Reach
from portwatch.policy.lint.unreachable import NOBODY, UNREACHABLE, unreachable
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import read
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.ports import PROTOCOLS, EndpointSet
from portwatch.policy.workload import Subject


def verdict(decision: Decision) -> tuple[str, str | None, str | None]:
    """What a bind gets: which constraint *allowed* it changes nothing."""
    constraint = decision.constraint if decision.verdict != "allowed" else None
    return decision.verdict, constraint, decision.errno


def assert_alike(policy: Policy, other: Policy, seed: int) -> None:
    """Both policies give every one of many binds near their edges the same."""
    for subject, endpoint in binds(policy, seed, 80):
        before, after = (decide(one, subject, endpoint) for one in (policy, other))
        assert verdict(before) == verdict(after), (subject, endpoint)


@settings(max_examples=300, deadline=None)
@given(policies(), st.integers(0, 1 << 30))
def test_what_is_told_can_be_removed(text: str, seed: int) -> None:
    """A constraint told to decide nothing can go: no bind is decided otherwise."""
    policy = parse_policy([("p.yaml", text)])
    for finding in unreachable(Reach(policy)):
        if finding.id in (UNREACHABLE, NOBODY):
            name = finding.reason.partition(":")[0]
            rest = tuple(one for one in policy.constraints if one.name != name)
            assert len(rest) == len(policy.constraints) - 1
            assert_alike(policy, replace(policy, constraints=rest), seed)


@settings(max_examples=300, deadline=None)
@given(policies(), st.integers(0, 1 << 30))
def test_a_word_that_is_told_can_be_removed(text: str, seed: int) -> None:
    """A word of a list told unused or repeated can go: no bind is decided otherwise."""
    policy = parse_policy([("p.yaml", text)])
    for finding in unused_entries(Reach(policy)):
        assert finding.id in (UNUSED, REPEATED)
        name, _, what = finding.reason.partition(": ")
        _, word, _, side = what.split("`")[:4]
        shorter = tuple(
            _without(one, side, word) if one.name == name else one for one in policy.constraints
        )
        assert shorter != policy.constraints
        assert_alike(policy, replace(policy, constraints=shorter), seed)


def _without(constraint: Constraint, side: str, word: str) -> Constraint:
    """Less the last of the entries with that word."""
    entries = list(getattr(constraint, side).entries)
    entries.remove(next(entry for entry in reversed(entries) if entry.word == word))
    return replace(constraint, **{side: EndpointSet(tuple(entries))})


@settings(max_examples=60, deadline=None)
@given(policies(max_constraints=4))
def test_what_is_not_told_decides_somewhere(text: str) -> None:
    """Where constraints differ by ports, addresses and network alone, each that is not told to be
    unreachable is the one that decides some bind, of a port that is declared or of another."""
    policy = parse_policy([("p.yaml", text)])
    everyone = tuple(
        replace(one, subject_for=None, subject_except=()) for one in policy.constraints
    )
    policy = replace(policy, constraints=everyone)
    told = {one.reason.partition(":")[0] for one in lint(policy) if one.id == UNREACHABLE}
    missing = {one.name for one in policy.constraints} - told
    halves = policy.as_declared(True), policy.as_declared(False)
    for endpoint in _endpoints(policy):
        for half, is_host in product(halves, (True, False)):
            reading = read(half, Subject(host_network=is_host), endpoint)
            for judgement in (reading.real, reading.would_be):
                if judgement is not None:
                    missing.discard(judgement.constraint.name)
        if not missing:
            return
    assert not missing


def _endpoints(policy: Policy) -> list[Endpoint]:
    addresses: list[Address] = addresses_near(policy)
    found = [Endpoint(protocol, 0, one) for one in addresses for protocol in PROTOCOLS]
    for port in ports_near(policy):
        for protocol in PROTOCOLS:
            for one in addresses:
                found.append(Endpoint(protocol, port, one))
                found.append(Endpoint(protocol, port, one, picked=True))
    return found
