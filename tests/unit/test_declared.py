"""`declared` as a port word: what a pod says that it binds, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, CONTAINER_ID, POD_UID, endpoints, policies, subjects

from portwatch.errors import PolicyError
from portwatch.policy.cases.cases import run_cases
from portwatch.policy.cases.files import read_cases
from portwatch.policy.decide import Decision, decide, explain
from portwatch.policy.difference.compare import compare
from portwatch.policy.lint.lint import lint
from portwatch.policy.model import Policy
from portwatch.policy.pod import DeclaredPort, KnownPod
from portwatch.policy.reading import Endpoint
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import NOT_UNIFORM, compile_policy
from portwatch.policy.tables.lookups import VERDICTS, Lookups
from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import KnownContainer, Subject

POD = f"/kubepods/burstable/pod{POD_UID}/{CONTAINER_ID}"
CLAIMED = f"/system.slice/shop-b.service/kubepods/pod{POD_UID}"
ANYWHERE = Address.parse("0.0.0.0")
PORTS = (1, 22, 53, 1024, 2379, 8050, 65535)

declared_ports = st.lists(
    st.builds(DeclaredPort, st.sampled_from(("tcp", "udp", "sctp")), st.sampled_from(PORTS)),
    max_size=4,
    unique=True,
)


def parse(text: str) -> Policy:
    """A policy of one file."""
    return parse_policy([("p.yaml", text)])


def pod(*ports: DeclaredPort, host_network: bool = True) -> KnownPod:
    """A pod that declares these."""
    return KnownPod(POD_UID, "shop", "web", host_network=host_network, declared_ports=ports)


def in_pod(*ports: DeclaredPort, cgroup: str = POD, verified: bool = False) -> Subject:
    """A task of it."""
    return Subject(cgroup, container=KnownContainer(is_verified=verified, pod=pod(*ports)))


def verdict(policy: Policy, who: Subject, port: int, protocol: str = "tcp") -> str:
    """What a bind to a port gets."""
    return decide(policy, who, Endpoint(protocol, port, ANYWHERE)).verdict


ONLY_DECLARED = parse(
    "version: 1\nmode: enforce\nconstraints: [{name: c, network: host, allow: [declared, 9100]}]\n"
)


def test_a_pod_may_have_what_it_declares() -> None:
    """Its containers' ports by protocol and number; what it does not declare is not meant."""
    who = in_pod(DeclaredPort("tcp", 8080), DeclaredPort("udp", 53))
    assert verdict(ONLY_DECLARED, who, 8080) == "allowed"
    assert verdict(ONLY_DECLARED, who, 53, "udp") == "allowed"
    assert verdict(ONLY_DECLARED, who, 53) == "denied"
    assert verdict(ONLY_DECLARED, who, 8080, "udplite") == "denied"
    assert verdict(ONLY_DECLARED, who, 9100) == "allowed"


def test_without_a_known_pod_nothing_is_declared() -> None:
    """Neither for a unit, nor for a pod of which the API server has not told, nor for a cgroup that
    only claims to be a pod's; but for that one where an engine vouches for it."""
    port = DeclaredPort("tcp", 8080)
    assert verdict(ONLY_DECLARED, Subject("/system.slice/web.service"), 8080) == "denied"
    assert verdict(ONLY_DECLARED, Subject(POD, container=KnownContainer("web")), 8080) == "denied"
    assert verdict(ONLY_DECLARED, in_pod(port, cgroup=CLAIMED), 8080) == "denied"
    vouched_for = in_pod(port, cgroup=CLAIMED, verified=True)
    assert verdict(ONLY_DECLARED, vouched_for, 8080) == "allowed"


def test_the_nodes_port_counts_on_the_nodes_network() -> None:
    """`hostPort` is a port of the pod's own only where it shares the node's network."""
    leads_there = DeclaredPort("tcp", 80, host_port=8080)
    assert pod(leads_there).declared == {("tcp", 80), ("tcp", 8080)}
    assert pod(leads_there, host_network=False).declared == {("tcp", 80)}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("declared/udplite", "a pod declares ports of tcp, udp or sctp"),
        ("declared/tpc", "unknown protocol; did you mean `tcp`?"),
        ("declard", "did you mean `declared`?"),
    ],
)
def test_a_wrong_word_is_told_with_the_right_one(word: str, said: str) -> None:
    """A protocol that no pod declares, and misspellings."""
    with pytest.raises(PolicyError) as refused:
        parse(f"version: 1\nconstraints: [{{name: c, deny: ['{word}']}}]\n")
    assert said in str(refused.value.problems[0])


def test_the_word_is_nobody_elses_name() -> None:
    """A definition that took it would be mistaken for it; it may stand in one."""
    with pytest.raises(PolicyError):
        parse("version: 1\ndefine: {ports: {declared: [80]}}\n")
    named = parse(
        "version: 1\nmode: enforce\ndefine: {ports: {own: [declared, 9100]}}\n"
        "constraints: [{name: c, allow: [own]}]\n"
    )
    who = in_pod(DeclaredPort("tcp", 8080))
    assert [verdict(named, who, port) for port in (8080, 9100, 1)] == [
        *("allowed", "allowed", "denied")
    ]


def test_explain_says_what_is_declared() -> None:
    """The word that matched stands behind the port; where it did not, what the pod declares; and
    where the pod is not known, that."""

    def why(who: Subject, port: int) -> str:
        return explain(ONLY_DECLARED, who, Endpoint("tcp", port, ANYWHERE))[1][0].why

    who = in_pod(DeclaredPort("tcp", 8080), DeclaredPort("udp", 53))
    assert why(who, 8080) == "allows: 8080/tcp is in its allow list (declared)"
    assert why(who, 1) == (
        "denies: in neither list (`declared` is 53/udp, 8080/tcp here); otherwise: deny"
    )
    assert why(in_pod(), 1) == (
        "denies: in neither list (`declared` is nothing here: the pod declares no port); "
        "otherwise: deny"
    )
    assert why(Subject(POD), 1) == (
        "denies: in neither list (`declared` is nothing here: no known pod); otherwise: deny"
    )


def looked_up(tables: Lookups, who: Subject, endpoint: Endpoint) -> tuple[object, ...]:
    """What the tables say, without the constraint that allowed."""
    found = tables.outcome(who, endpoint)
    return VERDICTS[found.verdict], found.constraint, found.errno


def told(decision: Decision) -> tuple[object, ...]:
    """The same of the reference."""
    name = None if decision.verdict == "allowed" else decision.constraint
    return decision.verdict, name, decision.errno


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_tables_agree_with_the_reference_for_pods(data: st.DataObject) -> None:
    """Any bind of a pod, whatever it and other pods declare, gets from the tables what decide()
    says; also in a uniform class."""
    policy = parse(data.draw(policies()))
    sets = data.draw(st.lists(declared_ports, min_size=1, max_size=3))
    universe = {(one.protocol, one.port) for ports in sets for one in ports}
    compiled = compile_policy(policy, ACCOUNTS, universe)
    tables = Lookups(compiled)
    for ports in sets:
        who = replace(
            data.draw(subjects()),
            cgroup=data.draw(st.sampled_from((POD, CLAIMED, "/ci/a"))),
            container=KnownContainer("db", pod=pod(*ports)),
        )
        row = compiled.subject_row(
            compiled.cgroup_signature(who.cgroup, who.container),
            compiled.user_classes.get(who.uid, 0),
            compiled.group_classes.get(who.gid, 0),
            who.host_network,
        )
        for uniform, decision in zip(compiled.uniform, row.decisions, strict=True):
            assert uniform in (NOT_UNIFORM, decision)
        for endpoint in (
            *(data.draw(endpoints(policy)) for _ in range(4)),
            *(Endpoint(one.protocol, one.port, ANYWHERE) for one in ports),
            *(Endpoint(one.protocol, one.port, ANYWHERE, picked=True) for one in ports),
            *(Endpoint("tcp", port, ANYWHERE, picked=True, listening=True) for port in PORTS),
        ):
            assert looked_up(tables, who, endpoint) == told(decide(policy, who, endpoint))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_two_halves_say_what_the_whole_says(data: st.DataObject) -> None:
    """Of a port that is declared, and of one that is not, a policy without the word decides."""
    policy = parse(data.draw(policies()))
    ports = data.draw(declared_ports)
    who = replace(data.draw(subjects()), cgroup=POD, container=KnownContainer(pod=pod(*ports)))
    for port in PORTS:
        endpoint = Endpoint(data.draw(st.sampled_from(("tcp", "udp"))), port, ANYWHERE)
        half = policy.as_declared(who.declares(endpoint.protocol, port))
        assert not half.uses_declared
        assert told(decide(half, who, endpoint)) == told(decide(policy, who, endpoint))


def test_ports_that_no_list_tells_apart_cost_no_class() -> None:
    """Declared ports are told apart only where a list holds the word; and alike ones of a pod each
    cost one endpoint class, not more."""
    universe = {("tcp", port) for port in range(8000, 8100)}
    plain = parse("version: 1\nconstraints: [{name: c, deny: [80]}]\n")
    assert compile_policy(plain, ACCOUNTS, universe).declared == {}
    without = compile_policy(ONLY_DECLARED, ACCOUNTS).endpoint_class_count
    with_all = compile_policy(ONLY_DECLARED, ACCOUNTS, universe).endpoint_class_count
    assert with_all <= without + len(universe)


def differs(old: str, new: str) -> list[tuple[bool | None, str, str]]:
    """What changes: of declared ports or others, and the verdicts."""
    pair = [
        parse(f"version: 1\nmode: enforce\nconstraints: [{{name: c, {rule}}}]\n")
        for rule in (old, new)
    ]
    regions = compare(pair[0], pair[1], ACCOUNTS).regions
    return [
        (one.declared, VERDICTS[one.old.verdict], VERDICTS[one.new.verdict])
        for one in regions
        if one.areas[0].kind == "asked"
    ]


def test_a_difference_is_told_for_declared_ports_and_for_others() -> None:
    """Each where only it changes; what changes for both is told once, and two ways to say the same
    are no difference."""
    declared = "for: {pod: '*'}, allow: [declared]"
    assert differs(declared, "for: {pod: '*'}, allow: [all]") == [(False, "denied", "allowed")]
    assert differs("for: {pod: '*'}, allow: []", declared) == [(True, "denied", "allowed")]
    named = "for: {pod: '*'}, allow: [declared/tcp, declared/udp, declared/sctp]"
    assert differs(declared, named) == []


def test_what_is_idle_is_so_for_declared_ports_too() -> None:
    """A constraint of nothing but `declared` decides; after one that says the same it does not, and
    neither does an entry that others hold in either case."""

    def ids(rules: str) -> list[str]:
        return [one.id for one in lint(parse(f"version: 1\nmode: enforce\nconstraints:\n{rules}"))]

    rule = "  - {name: NAME, for: {pod: '*'}, deny: [declared]}\n"
    assert ids(rule.replace("NAME", "a")) == []
    assert ids(rule.replace("NAME", "a") + rule.replace("NAME", "b")) == ["unreachable-constraint"]
    assert ids("  - {name: a, for: {pod: '*'}, allow: [declared, ephemeral, 9500]}\n") == []
    assert ids("  - {name: a, for: {pod: '*'}, allow: [declared, 9500, 9500]}\n") == [
        "repeated-entry"
    ]


def test_a_policys_own_tests_can_say_that_a_port_is_declared() -> None:
    """`declared: true` in a case, and without it the port is none of the pod's."""
    policy = parse(
        "version: 1\nmode: enforce\nconstraints: [{name: c, for: {pod: '*'}, allow: [declared]}]\n"
    )
    text = (
        "cases:\n"
        "  - {workload: {pod: '*'}, bind: 8080/tcp, declared: true, expect: allowed}\n"
        "  - {workload: {pod: '*'}, bind: 8080/tcp, expect: denied, constraint: c}\n"
        "  - {workload: {pod: '*'}, bind: 8080/tcp, declared: true, expect: denied}\n"
    )
    results = run_cases(policy, read_cases([("cases.yaml", text)]))
    assert [result.passed for result in results] == [True, True, False]
