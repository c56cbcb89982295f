"""A policy's own tests: the format, what is tried for a case, and what fails."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import policies, ports_near

from portwatch.cli.junit import junit_xml
from portwatch.errors import PolicyError, UsageError
from portwatch.policy.cases.cases import Result, run_cases
from portwatch.policy.cases.files import read_cases
from portwatch.policy.cases.specimens import filled, specimens
from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.source.load import parse_policy
from portwatch.policy.workload import Selector, Subject

POLICY = """
version: 1
mode: enforce
define:
  workloads:
    shop: {unit: "shop-*.service"}
    ci: [{user: ci}, {cgroup: "/ci/**"}]
constraints:
  - {name: etcd, except: {unit: etcd.service}, network: host, deny: [catalog:etcd]}
  - {name: shop, for: shop, addresses: [loopback], allow: [8000-8099/tcp, ephemeral], errno: EPERM}
  - {name: trial, for: ci, mode: record, deny: [9000]}
"""


def run(cases: str, policy: str = POLICY) -> list[Result]:
    """What comes of these cases, given as a YAML list."""
    return run_cases(parse_policy([("policy.yaml", policy)]), read_cases([("c.yaml", cases)]))


def one(case: str) -> Result:
    """What comes of one case, given as a flow mapping."""
    (result,) = run(f"cases: [{case}]")
    return result


@pytest.mark.parametrize(
    "case",
    [
        "{workload: shop, bind: 8000-8099, address: 127.0.0.1, expect: allowed, constraint: shop}",
        '{workload: shop, bind: [8000/tcp, "8050"], address: "::1", expect: allowed}',
        "{workload: shop, bind: 8000, expect: denied, constraint: shop, errno: EPERM}",
        "{workload: shop, bind: ephemeral, address: 127.0.0.1, expect: allowed, constraint: shop}",
        "{workload: shop, bind: 33000, picked: true, expect: allowed}",
        "{workload: shop, bind: 33000, listening: true, expect: recorded, constraint: shop}",
        "{bind: catalog:etcd, expect: denied, constraint: etcd, errno: EACCES}",
        "{bind: catalog:etcd, network: other, expect: allowed}",
        "{workload: {unit: etcd.service}, bind: 2379, expect: allowed}",
        "{workload: ci, bind: 9000/udp, expect: recorded, constraint: trial}",
        "{workload: [ci, {user: ci, unit: a.service}], bind: 9000, expect: recorded}",
        "{workload: {user: bob}, bind: 9000, expect: allowed}",
    ],
)
def test_a_case_that_holds_passes(case: str) -> None:
    """Names, selectors, lists, ranges, the catalog, picked ports: each is tried as it is meant."""
    result = one(case)
    assert result.passed, result


def test_a_failure_tells_the_very_binds() -> None:
    """Of a range, the ports that came out otherwise, by whom, with the decision and each step."""
    (result,) = run(
        "defaults: {address: 127.0.0.1, expect: allowed}\n"
        "cases: [{workload: shop, bind: 7990-8200/tcp}]"
    )
    assert not result.passed
    assert result.title == "shop binds 7990-8200/tcp"
    assert [failure.ports for failure in result.failures] == ["7990-7999/tcp", "8100-8200/tcp"]
    failure = result.failures[0]
    assert failure.subject.cgroup == "/system.slice/shop-x.service"
    assert (failure.decision.verdict, failure.decision.constraint) == ("denied", "shop")
    assert [step.name for step in failure.steps] == ["etcd", "shop"]


@pytest.mark.parametrize(
    "wrong", ["expect: allowed", "expect: denied, constraint: shop", "expect: denied, errno: EPERM"]
)
def test_verdict_constraint_and_errno_all_count(wrong: str) -> None:
    """A case fails where any of the three that it names is another."""
    assert one("{bind: 2379, expect: denied, constraint: etcd, errno: EACCES}").passed
    assert not one(f"{{bind: 2379, {wrong}}}").passed


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("workload: shp", "the policy defines no workload `shp`; did you mean `shop`?"),
        ("constraint: etdc", "the policy has no constraint `etdc`; did you mean `etcd`?"),
        ("workload: {slice: a.slice, unit: x.service, cgroup: /b}", "nothing can be unit x.service "
         "and slice a.slice and cgroup /b: give what can be"),
    ],
)  # fmt: skip
def test_what_the_policy_has_not_fails_its_case(case: str, said: str) -> None:
    """A case about nothing fails, and names what was probably meant; the others are still run."""
    failed, passed = run(
        f"cases: [{{{case}, bind: 1, expect: allowed}}, {{bind: 1, expect: allowed}}]"
    )
    assert failed.unknown is not None
    assert failed.unknown.startswith(said)
    assert passed.passed


def test_defaults_are_overridden() -> None:
    """What a case says itself counts before its file's defaults."""
    text = (
        "defaults: {workload: shop, bind: 1, expect: denied, address: 127.0.0.1}\n"
        "cases: [{}, {bind: 8000, expect: allowed}, {workload: ci, expect: allowed}]"
    )
    assert [result.passed for result in run(text)] == [True, True, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: [{bind: 1}]", "1:9: `expect` is missing"),
        ("cases: [{expect: denied}]", "1:9: `bind` is missing"),
        ("cases: [{bind: 1, expect: deny}]", "1:27: unknown expect `deny`; did you mean `denied`?"),
        ("cases: [{bind: 1, expext: denied}]", "1:19: unknown key `expext`; did you "
         "mean `expect`?"),
        ("cases: [{bind: web, expect: denied}]", "1:16: `web` is no port; write 8080/tcp, "
         "9000-9099/udp, ephemeral or catalog:NAME"),
        ("cases: [{bind: catalog:etdc, expect: denied}]", "1:16: the catalog has no `etdc`; did "
         "you mean `catalog:etcd`?"),
        ("cases: [{bind: 1, address: home, expect: denied}]", "1:28: `home` is no IP address"),
        ("cases: [{bind: 1/udp, listening: true, expect: allowed}]", "1:16: only tcp tells that a "
         "socket listens"),
        ("cases: [{bind: ephemeral, picked: true, expect: allowed}]", "1:16: `ephemeral` asks for "
         "a port: give the one that was picked"),
        ("cases: [{bind: 1, expect: allowed, errno: EPERM}]", "1:36: what is allowed has no errno"),
        ("cases: [{bind: 1, picked: 1, expect: allowed}]", "1:27: `picked` must be true or false, "
         "not `1`"),
        ("cases: [{bind: 1, workload: {unit: x}, expect: allowed}]", "1:36: `x` has no suffix; did "
         "you mean `x.service`?"),
        ("cases: [{bind: , expect: allowed}]", "1:10: `bind` has no value"),
        ("cases: []", "1:8: `cases` is empty"),
        ("[1]", "1:1: a file of cases is a mapping with `cases`"),
        ("defaults: {}", "1:1: `cases` is missing"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_place(text: str, said: str) -> None:
    """What is wrong with a file of cases, where, and what was probably meant."""
    with pytest.raises(PolicyError) as raised:
        read_cases([("c.yaml", text)])
    assert [str(problem) for problem in raised.value.problems] == [f"c.yaml:{said}"]


def test_no_case_is_no_success() -> None:
    """Nothing to try is an error: a CI that tests nothing must not pass."""
    with pytest.raises(UsageError, match="there is no case"):
        read_cases([])


@pytest.mark.parametrize(
    "selector",
    [
        Selector(unit=("shop-*.service",)), Selector(unit=("worker@*",)), Selector(unit=("*",)),
        Selector(unit=("user@*.service",), user=("alice",)),
        Selector(unit=("session-[!a]?.scope",)),
        Selector(slice=("shop-web.slice",)), Selector(slice=("*",), unit=("a.service",)),
        Selector(container=("db-?",)), Selector(container=("0123456789ab",)),
        Selector(image=("registry.example/team/app:1.*",)), Selector(image=("postgres",)),
        Selector(pod=("1234*",)), Selector(pod=("0f3f0d4c-1234-4abc-8def-0123456789ab",)),
        Selector(container=("web",), unit=("web.service",)), Selector(cgroup=("/ci/**",)),
        Selector(cgroup=("/**/build-*",)), Selector(cgroup=("/ci/*",), container=("a*",)),
        Selector(user=(33,)), Selector(user=("root",)),
        Selector(user=("www-*", 33), group=("adm",)),
        Selector(unit=("a.service",), cgroup=("/system.slice/a.service",)),
        Selector(pod=("*",), container=("*",), image=("*",), user=(0,)),
        Selector(pod_namespace=("kube-*",)), Selector(pod_known=("false",)),
        Selector(pod_labels=("!x,app in (a,b),tier,y!=z",), pod_account=("a?",)),
        Selector(pod_name=("api-[0-9]",), pod=("1234*",), pod_known=("true",)),
    ],
    ids=str,
)  # fmt: skip
def test_a_selector_has_a_specimen(selector: Selector) -> None:
    """Of every kind of selector there is a subject that it means, and one for each pattern."""
    found = specimens(selector, host_network=True)
    assert found
    assert all(selector.matches(subject) for subject in found)
    if len(selector.given_keys) == 1:
        (key,) = selector.given_keys
        assert len(found) == len(getattr(selector, key))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("a*b", "axb"),
        ("a**", "ax"),
        ("[!x]", "1"),
        ("[[]?", "[x"),
        ("a[]b", "a[]b"),
        ("[b-d]", "b"),
    ],
)  # fmt: skip
def test_a_glob_is_filled_in(pattern: str, name: str) -> None:
    """Stars, question marks and brackets become characters that they mean."""
    assert filled(pattern, "x") == name


@given(policies(max_constraints=6), st.data())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_a_range_is_tried_as_each_of_its_ports(text: str, data: st.DataObject) -> None:
    """What is said of a range is so of every port in it."""
    policy = parse_policy([("policy.yaml", text)])
    near = data.draw(st.sampled_from(ports_near(policy)))
    first, last = max(near - 40, 1), min(near + 40, 65535)
    (case,) = read_cases([("c.yaml", f"cases: [{{bind: {first}-{last}, expect: allowed}}]")])
    (result,) = run_cases(policy, [case])
    failing: set[int] = set()
    for failure in result.failures:
        begin, _, end = failure.ports.removesuffix("/tcp").partition("-")
        failing |= set(range(int(begin), int(end or begin) + 1))
    root = Subject(user="root", group="root")
    refused = {
        port
        for port in range(first, last + 1)
        if decide(policy, root, Endpoint("tcp", port, case.address)).verdict != "allowed"
    }
    assert failing == refused


def test_junit_has_every_case() -> None:
    """CI reads how many ran, how many failed, where each stands and what came."""
    results = run(
        "cases: [{name: good, bind: 1, expect: allowed}, {name: bad, bind: 2379, expect: allowed},"
        " {name: unknown, workload: shp, bind: 1, expect: allowed}]"
    )
    root = ET.fromstring(junit_xml(results))
    assert (root.get("tests"), root.get("failures")) == ("3", "2")
    (suite,) = root
    assert suite.get("name") == "c.yaml"
    good, bad, unknown = suite
    assert [case.get("name") for case in suite] == ["good", "bad", "unknown"]
    assert not list(good)
    assert bad[0].get("message") == "expected allowed, came denied"
    assert "1. etcd" in str(bad[0].text)
    assert "\x1b" not in str(bad[0].text)
    assert "did you mean `shop`" in str(unknown[0].get("message"))
