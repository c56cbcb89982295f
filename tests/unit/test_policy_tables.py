"""The tables say what the reference semantics say, over the whole language."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_strategies import (
    ACCOUNTS,
    CGROUPS,
    FixedAccounts,
    binds,
    endpoints,
    policies,
    ports_near,
    subject,
    subjects,
)

from portwatch.errors import PolicyError
from portwatch.policy.decide import Decision, Endpoint, decide, explain, workload_name
from portwatch.policy.model import Mode, Policy
from portwatch.policy.source.load import builtin_policy, parse_policy
from portwatch.policy.tables.compile import NOT_UNIFORM, CompiledPolicy, compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.ports import PROTOCOLS
from portwatch.policy.workload import Subject

VERDICTS = ("allowed", "denied", "recorded")

steady = settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    suppress_health_check=list(HealthCheck),
)
brief = settings(steady, max_examples=60)


def parse(text: str) -> Policy:
    """Parse one policy file."""
    return parse_policy([("policy.yaml", text)])


def compiled(text: str) -> CompiledPolicy:
    """Parse and compile one policy file on the machine of ACCOUNTS."""
    return compile_policy(parse(text), ACCOUNTS)


def outcome(decision: Decision) -> tuple[int, str | None, str | None]:
    """Return a decision as an outcome: allowed binds share one."""
    verdict = VERDICTS.index(decision.verdict)
    if verdict == 0:
        return 0, None, None
    return verdict, decision.constraint, decision.errno


def looked_up(
    tables: CompiledPolicy, who: Subject, endpoint: Endpoint
) -> tuple[int, str | None, str | None]:
    """Return the outcome that the kernel would find."""
    found = Lookups(tables).outcome(who, endpoint)
    return found.verdict, found.constraint, found.errno


@given(st.data())
@steady
def test_tables_agree_with_the_reference(data: st.DataObject) -> None:
    """Any bind of any policy gets from the tables what decide() says."""
    policy = parse(data.draw(policies()))
    tables = compile_policy(policy, ACCOUNTS)
    for who, endpoint in binds(policy, data.draw(st.integers(0, 1 << 32)), 60):
        assert looked_up(tables, who, endpoint) == outcome(decide(policy, who, endpoint))


@given(st.data())
@brief
def test_tables_agree_in_every_mode(data: st.DataObject) -> None:
    """with_mode() changes the verdicts of tables and reference alike; record never denies."""
    modes: tuple[Mode, ...] = ("record", "enforce")
    mode = data.draw(st.sampled_from(modes))
    policy = parse(data.draw(policies())).with_mode(mode)
    tables = compile_policy(policy, ACCOUNTS)
    for _ in range(6):
        who, endpoint = data.draw(subjects()), data.draw(endpoints(policy))
        decision = decide(policy, who, endpoint)
        assert looked_up(tables, who, endpoint) == outcome(decision)
        assert mode == "enforce" or decision.verdict != "denied"


@given(st.data())
@brief
def test_uniform_holds_for_every_subject(data: st.DataObject) -> None:
    """Where an endpoint class is uniform, no subject's row says anything else."""
    tables = compiled(data.draw(policies()))
    for _ in range(8):
        who = data.draw(subjects())
        row = tables.subject_row(
            tables.cgroup_signature(who.cgroup, who.container),
            tables.user_classes.get(who.uid, 0),
            tables.group_classes.get(who.gid, 0),
            who.host_network,
        )
        assert len(row.decisions) == tables.endpoint_class_count == len(tables.uniform)
        for uniform, decision in zip(tables.uniform, row.decisions, strict=True):
            assert uniform in (NOT_UNIFORM, decision)


@given(st.data())
@brief
def test_workload_names_agree(data: st.DataObject) -> None:
    """A subject row names the workload that workload_name() does."""
    policy = parse(data.draw(policies()))
    tables = compile_policy(policy, ACCOUNTS)
    who = data.draw(subjects())
    row = tables.subject_row(
        tables.cgroup_signature(who.cgroup, who.container),
        tables.user_classes.get(who.uid, 0),
        tables.group_classes.get(who.gid, 0),
        who.host_network,
    )
    assert row.workload == workload_name(policy, who)


@given(st.data())
@brief
def test_explain_ends_with_the_decision(data: st.DataObject) -> None:
    """explain() gives decide()'s verdict, and its steps contain the constraint that gave it."""
    policy = parse(data.draw(policies()))
    who, endpoint = data.draw(subjects()), data.draw(endpoints(policy))
    decision, steps = explain(policy, who, endpoint)
    assert decision == decide(policy, who, endpoint)
    order = [constraint.name for constraint in policy.constraints]
    assert [step.name for step in steps if step.name != "default"] == order[: len(steps)]
    speaking = {step.name: step.effect for step in steps if step.effect in ("deny", "allow")}
    if decision.constraint is not None:
        expected = "allow" if decision.verdict == "allowed" else "deny"
        assert speaking[decision.constraint] == expected
    assert all(step.applies == (step.effect != "skip") for step in steps if step.name != "default")
    assert all(step.why and "\n" not in step.why for step in steps)


@given(st.data())
@brief
def test_unused_dimensions_change_nothing(data: st.DataObject) -> None:
    """Where a uses_ flag is False, another value of that dimension gets the same verdict."""
    policy = parse(data.draw(policies(max_constraints=3)))
    tables = compile_policy(policy, ACCOUNTS)
    who, other = data.draw(subjects()), data.draw(subjects())
    endpoint, elsewhere = data.draw(endpoints(policy)), data.draw(endpoints(policy))
    mixed = subject(
        who.cgroup if tables.uses_cgroups else other.cgroup,
        who.uid if tables.uses_users else other.uid,
        who.gid if tables.uses_groups else other.gid,
        who.host_network if tables.uses_network else other.host_network,
        who.container if tables.uses_engines else None,
    )
    address = endpoint.address if tables.uses_addresses else elsewhere.address
    moved = replace(endpoint, address=address)
    assert outcome(decide(policy, mixed, moved)) == outcome(decide(policy, who, endpoint))
    assert workload_name(policy, mixed) == workload_name(policy, who)
    if endpoint.picked and not endpoint.listening and not tables.uses_picked:
        assert decide(policy, who, endpoint).verdict == "allowed"


@given(policies())
@brief
def test_tables_are_well_formed(text: str) -> None:
    """Every index in a table is below the count that the kernel's arrays are sized by."""
    tables = compiled(text)
    assert len(tables.port_classes) == 2 * 5 * 65536
    assert tables.ephemeral_gate == max(tables.port_classes) + 1
    ports = tables.ephemeral_gate + 1
    assert len(tables.endpoint_classes) == ports * tables.address_class_count
    assert set(tables.endpoint_classes) == set(range(tables.endpoint_class_count))
    assert len(tables.outcomes) <= 2051
    assert [outcome.verdict for outcome in tables.outcomes[:2]] == [0, 0]
    assert all(outcome.verdict for outcome in tables.outcomes[2:])
    assert {u for u in tables.uniform if u != NOT_UNIFORM} <= set(range(len(tables.outcomes)))
    assert max(tables.user_classes.values(), default=0) < tables.user_class_count
    assert max(tables.group_classes.values(), default=0) < tables.group_class_count
    assert 0 not in tables.user_classes.values()
    classes = {tables.default_address_class, tables.dual_address_class}
    classes |= {number for _, _, number in tables.address_classes}
    assert classes == set(range(tables.address_class_count))
    assert tables.uses_addresses or not tables.address_classes
    places = [(length, prefix) for length, prefix, _ in tables.address_classes]
    assert len(set(places)) == len(places)


@given(st.data())
@brief
def test_rows_do_not_depend_on_history(data: st.DataObject) -> None:
    """subject_row() gives the same row first and last, and from a fresh compilation."""
    text = data.draw(policies())
    used, fresh = compiled(text), compiled(text)
    who = data.draw(subjects())
    for path in CGROUPS:
        used.subject_row(used.cgroup_signature(path), 0, 0, True)

    def row(tables: CompiledPolicy) -> object:
        signature = tables.cgroup_signature(who.cgroup, who.container)
        return tables.subject_row(signature, tables.user_classes.get(who.uid, 0), 0, True)

    assert row(used) == row(fresh)


def test_no_prefix_repeats_its_parent() -> None:
    """A prefix that would not change the class of its parent is left out."""
    tables = compiled(
        "{version: 1, constraints: [{name: a, deny: [all], addresses: "
        "[10.0.0.0/8, 10.1.0.0/16, 10.2.0.0/16]}]}"
    )
    assert [length for length, _, _ in tables.address_classes] == [104]


def test_native_v6_does_not_swallow_v4() -> None:
    """A rule on ::/0 leaves ::ffff:0:0/96 alone, in the reference and in the trie."""
    text = "{version: 1, mode: enforce, constraints: [{name: a, deny: [all], addresses: ['::/0']}]}"
    policy, tables = parse(text), compiled(text)
    for where, verdict in (("1.2.3.4", 0), ("::ffff:1.2.3.4", 0), ("::", 1), ("fe80::1", 1)):
        endpoint = Endpoint("tcp", 80, Address.parse(where))
        who = subject("/", 0, 0)
        assert looked_up(tables, who, endpoint)[0] == verdict
        assert outcome(decide(policy, who, endpoint))[0] == verdict
    assert decide(policy, subject("/", 0, 0), Endpoint("tcp", 80, DUAL)).verdict == "denied"


def test_plain_denials_are_uniform() -> None:
    """What nobody may bind is decided without looking up who binds."""
    tables = compiled(
        "{version: 1, mode: enforce, constraints: [{name: a, deny: [22]}, "
        "{name: b, for: {user: ci}, deny: [23]}]}"
    )
    by_port = {
        port: tables.uniform[tables.endpoint_classes[tables.port_classes[port]]]
        for port in (21, 22, 23)
    }
    assert tables.outcomes[by_port[22]].constraint == "a"
    assert by_port[21] == 0
    assert by_port[23] == NOT_UNIFORM


def test_every_port_of_the_builtin_policy() -> None:
    """The built-in policy's tables agree with the reference at every edge it has."""
    policy = builtin_policy()
    tables = compile_policy(policy, ACCOUNTS)
    for port in ports_near(policy):
        for protocol in PROTOCOLS:
            for address in (DUAL, Address.parse("127.0.0.1"), Address.parse("10.0.0.1")):
                for cgroup in ("/", "/system.slice/ssh.service", "/docker/abc"):
                    who, endpoint = subject(cgroup, 0, 0), Endpoint(protocol, port, address)
                    decision = decide(policy, who, endpoint)
                    assert looked_up(tables, who, endpoint) == outcome(decision)
                    assert decision.verdict != "denied"


def test_an_id_with_two_names_matches_by_either() -> None:
    """A rule about a second account name of an id holds for that id."""
    tables = compile_policy(
        parse(
            "{version: 1, mode: enforce, constraints: [{name: a, for: {user: toor}, deny: [9]}]}"
        ),
        FixedAccounts({"root": 0, "toor": 0}, {}),
    )
    assert tables.user_classes == {0: 1}
    assert tables.user_class_count == 2


def test_too_many_endpoint_classes_are_refused_by_number() -> None:
    """Past 4,096 endpoint classes there is an error that names the number."""
    rows = "".join(
        f"  - {{name: c{n}, deny: [{n * 60 + 1}-{n * 60 + 40}], "
        f"allow: [{n * 60 + 41}-{n * 60 + 80}]}}\n"
        for n in range(1000)
    )
    with pytest.raises(PolicyError, match="4,096"):
        compiled("version: 1\nconstraints:\n" + rows)
