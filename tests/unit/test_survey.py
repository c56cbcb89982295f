"""What a policy says of sockets that listen already, from listings made here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, binds, policies

from portwatch.agent.events.listener import listener_event
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.survey.child import fold, report
from portwatch.agent.survey.report import SurveyRequest
from portwatch.agent.survey.survey import Surveyed, survey
from portwatch.node.accounts import AccountTable
from portwatch.node.listeners import Listener, Listing
from portwatch.node.socket_holders import Holder
from portwatch.policy.decide import decide
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.scopes import scope_of

NOBODYS = AccountTable({}, {})
BOOK = ContainerBook()
NOTHING = Listing([], [])
HOLDER = Holder(
    pid=7, comm="api", exe="/api", cmdline="api -x", uid=1001, gid=1002,
    cgroup="/system.slice/shop-api.service", since="2026-01-02T03:04:05.670000Z",
)  # fmt: skip
LISTENER = Listener(
    protocol="tcp", family="ipv4", address="127.0.0.1", port=9000, state="listen", dual=False,
    network=4026531833, is_host_network=True, in_local_range=False, cookie=1, uid=1001,
    made_in=HOLDER.cgroup, holder=HOLDER, more=0,
)  # fmt: skip
UDP = replace(LISTENER, protocol="udp", state="bound")


def parse(text: str) -> Policy:
    """A policy of one file."""
    return parse_policy([("survey.yaml", text)], source="survey.yaml")


def judged(rules: str, listener: Listener, below: str = "/") -> Surveyed:
    """One listener under a policy of these constraints."""
    policy = parse(f"version: 1\nmode: enforce\nconstraints: [{rules}]\n")
    (found,) = survey(policy, [listener], NOBODYS, below)
    return found


def told(rules: str, listener: Listener, below: str = "/") -> tuple[str | None, str | None]:
    """Verdict and constraint."""
    found = judged(rules, listener, below)
    return found.verdict, found.decision.constraint if found.decision else None


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("127.3.2.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "wildcard"),
        ("::", "wildcard"),
        ("10.1.2.3", "private"),
        ("fd00::1", "private"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("8.8.8.8", "public"),
        ("2606:4700::1", "public"),
        ("224.0.0.251", "other"),
        ("100.64.0.1", "other"),
    ],
)
def test_scopes_are_the_words_of_the_language(address: str, scope: str) -> None:
    """A scope is the policy's own word for an address; what has none is `other`."""
    assert scope_of(Address.parse(address)) == scope


def test_the_holding_process_is_judged() -> None:
    """Unit, uid and gid of the process that has the socket decide, by name and by number."""
    assert told("{name: c, for: {unit: shop-*}, deny: [9000]}", LISTENER) == ("denied", "c")
    assert told("{name: c, for: {user: 1001, group: 1002}, deny: [9000]}", LISTENER)[0] == "denied"
    assert told("{name: c, for: {user: 5}, deny: [9000]}", LISTENER)[0] == "allowed"
    assert told("{name: c, deny: [9000], mode: record}", LISTENER) == ("recorded", "c")


def test_without_a_process_the_makers_cgroup_and_the_sockets_uid_are_judged() -> None:
    """A socket that nobody visible holds has a cgroup and a uid, and no group at all."""
    nobodys = replace(LISTENER, holder=None, made_in="/a", uid=0)
    assert told("{name: c, for: {cgroup: /a, user: 0}, deny: [9000]}", nobodys)[0] == "denied"
    assert told("{name: c, for: {group: 0}, deny: [9000]}", nobodys)[0] == "allowed"
    assert judged("{name: c, deny: [1]}", nobodys).workload == "/a"


def test_a_cgroup_of_any_bytes_can_be_shown() -> None:
    """A name that is no UTF-8 fits a label, a terminal and JSON."""
    odd = judged("{name: c, deny: [9000]}", replace(LISTENER, holder=None, made_in="/a\udcff"))
    assert odd.workload == "/a?"
    assert listener_event(odd, BOOK)["workload"]["cgroup"] == "/a\\xff"


def test_networks_and_addresses_narrow() -> None:
    """A constraint of the host's network does not mean another namespace's socket."""
    elsewhere = replace(LISTENER, is_host_network=False)
    assert told("{name: c, network: host, deny: [9000]}", LISTENER)[0] == "denied"
    assert told("{name: c, network: host, deny: [9000]}", elsewhere)[0] == "allowed"
    dual = replace(LISTENER, family="ipv6", address="::", dual=True)
    v6_only = replace(dual, dual=False)
    rule = "{name: c, addresses: [0.0.0.0], deny: [9000]}"
    assert told(rule, dual)[0] == "denied"
    assert told(rule, v6_only)[0] == "allowed"


def test_sockets_outside_are_not_judged() -> None:
    """Where portwatch is attached to a cgroup, sockets of others have no verdict."""
    assert told("{name: c, deny: [9000]}", LISTENER, "/system.slice")[0] == "denied"
    assert told("{name: c, deny: [9000]}", LISTENER, "/system")[0] is None
    assert survey(None, [LISTENER], NOBODYS)[0].verdict is None


def test_a_listener_in_the_range_is_judged_by_number() -> None:
    """A service on 50051 asked for it, as far as anybody can tell."""
    grpc = replace(LISTENER, port=50051, in_local_range=True)
    assert told("{name: c, allow: [80]}", grpc) == ("denied", "c")
    found = judged("{name: c, allow: [80, 50051]}", grpc)
    assert (found.verdict, found.picked) == ("allowed", False)


def test_where_ephemeral_is_allowed_a_port_of_the_range_is() -> None:
    """A policy that lets the subject have kernel-picked ports is not broken by one; outside the
    range no port was picked."""
    picked = replace(LISTENER, port=50051, in_local_range=True)
    rule = "{name: c, allow: [80, ephemeral]}"
    found = judged(rule, picked)
    assert (found.verdict, found.picked) == ("allowed", True)
    assert told(rule, replace(picked, in_local_range=False)) == ("denied", "c")
    elsewhere = "{name: c, addresses: [private], allow: [80, ephemeral]}"
    assert told(elsewhere, picked) == ("denied", "c")


def test_a_denied_number_is_denied_even_where_ephemeral_is_allowed() -> None:
    """A `deny` list that comes first names the port, so the kernel's pick would be refused."""
    picked = replace(LISTENER, port=50051, in_local_range=True)
    rules = "{name: first, deny: [50051]}, {name: second, allow: [ephemeral]}"
    assert told(rules, picked) == ("denied", "first")


def test_udp_clients_are_not_held_to_a_number() -> None:
    """An unconnected UDP socket in the range is a client's, unless a `deny` list names it."""
    client = replace(UDP, port=41000, in_local_range=True)
    found = judged("{name: c, allow: [53]}", client)
    assert (found.verdict, found.picked) == ("allowed", True)
    assert told("{name: c, deny: [41000]}", client) == ("denied", "c")
    assert told("{name: c, allow: [53]}", replace(client, in_local_range=False))[0] == "denied"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_lookups_agree_with_the_reference(data: st.DataObject) -> None:
    """Many binds by the tables get what decide() says, but for the name of what allowed them."""
    policy = parse(data.draw(policies()))
    lookups = Lookups(compile_policy(policy, ACCOUNTS))
    for who, endpoint in binds(policy, data.draw(st.integers(0, 1 << 32)), 60):
        endpoint = replace(endpoint, listening=False)
        expected = decide(policy, who, endpoint)
        if expected.verdict == "allowed":
            expected = replace(expected, constraint=None)
        assert lookups.decide(who, endpoint) == expected


def many(count: int, rules: str = "{name: c, deny: [1-100]}") -> list[Surveyed]:
    """`count` listeners on ports from 1."""
    policy = parse(f"version: 1\nmode: enforce\nconstraints: [{rules}]\n")
    sockets = [replace(LISTENER, port=port, cookie=port) for port in range(1, count + 1)]
    return survey(policy, sockets, NOBODYS)


def test_sockets_of_one_kind_are_one_series() -> None:
    """Equal labels are counted together, whatever the address."""
    policy = parse("version: 1\nconstraints: []\n")
    sockets = [replace(LISTENER, address=f"127.0.0.{n}", cookie=n) for n in range(1, 6)]
    labels = ("shop-api.service", "tcp", "9000", "loopback", "allowed")
    assert fold(survey(policy, sockets, NOBODYS), 10) == ([(labels, 5)], 0)


def test_series_past_the_bound_are_folded_violations_last() -> None:
    """Violations keep their series as long as they fit; the sum of all is what listens."""
    found, folded = fold(many(150), 120)
    assert folded == 30
    assert len(found) == 121
    assert sum(labels[4] == "denied" for labels, _ in found) == 100
    assert found[-1] == (("other", "tcp", "other", "loopback", "allowed"), 30)
    assert sum(count for _, count in found) == 150


def test_kernel_picked_ports_are_one_series() -> None:
    """Clients come and go by the thousand: their ports are no labels."""
    policy = parse("version: 1\nmode: enforce\nconstraints: [{name: c, allow: [53]}]\n")
    clients = [replace(UDP, port=port, in_local_range=True) for port in range(40000, 40100)]
    assert fold(survey(policy, clients, NOBODYS), 10)[0] == [
        (("shop-api.service", "udp", "ephemeral", "loopback", "allowed"), 100)
    ]


def test_a_violating_listener_is_handed_back_once_a_policy() -> None:
    """What was told under this policy is not told again; under another it is."""
    policy = parse("version: 1\nmode: enforce\nconstraints: [{name: c, deny: [1-100]}]\n")
    found = many(3)
    first = report(SurveyRequest(max_events=2), policy, found, NOTHING, BOOK)
    assert [event["bind"]["port"] for _, event in first.events] == [1, 2]
    assert (first.untold, first.violating) == (1, {"denied": 3})
    known = tuple(number for number, _ in first.events)
    second = report(
        SurveyRequest(told=known, told_under=first.policy), policy, found, NOTHING, BOOK
    )
    assert [event["bind"]["port"] for _, event in second.events] == [3]
    assert tuple(second.told) == known
    third = report(SurveyRequest(told=known, told_under="another"), policy, found, NOTHING, BOOK)
    assert len(third.events) == 3


def test_the_event_has_the_keys_of_a_violation_and_since() -> None:
    """Readers of violations can read it; what is not known is absent."""
    made_elsewhere = replace(LISTENER, made_in="/init.scope")
    event = listener_event(
        judged("{name: c, deny: [9000], reason: no}", made_elsewhere), ContainerBook()
    )
    assert event == {
        "kind": "listener",
        "verdict": "denied",
        "constraint": "c",
        "reason": "no",
        "errno": "EACCES",
        "bind": {
            "protocol": "tcp",
            "family": "ipv4",
            "address": "127.0.0.1",
            "port": 9000,
            "network": "host",
        },
        "socket_workload": {"cgroup": "/init.scope", "unit": "init.scope"},
        "workload": {
            "name": "shop-api.service",
            "cgroup": HOLDER.cgroup,
            "unit": "shop-api.service",
        },
        "process": {
            "pid": 7, "comm": "api", "exe": "/api", "cmdline": "api -x", "uid": 1001, "gid": 1002,
        },
        "since": HOLDER.since,
        "count": 1,
    }  # fmt: skip
    bare = listener_event(judged("{name: c, deny: [9000], mode: record}", replace(
        LISTENER, holder=None, made_in=None, network=5, is_host_network=False)), BOOK)  # fmt: skip
    assert bare["bind"]["network"] == "net:[5]"
    assert not {"process", "since", "errno", "reason", "socket_workload"} & bare.keys()
