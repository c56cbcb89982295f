"""Each lint finds what it is for, and says nothing of the nearest policy that is right."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from portwatch.agent.lint.lint import MACHINE_IDS
from portwatch.agent.lint.listeners import URGENCY
from portwatch.policy.lint.accepted import STALE, divide
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.lint import IDS, lint
from portwatch.policy.model import Acceptable
from portwatch.policy.source.load import builtin_policy, parse_policy

HEAD = "version: 1\nmode: enforce\nconstraints:\n"


def findings(constraints: str, head: str = HEAD) -> list[Finding]:
    """What is found in these constraints, one a line, and not accepted by them."""
    policy = parse_policy([("p.yaml", head + constraints)])
    return divide(policy, lint(policy))[0]


CASES = [
    (
        "unreachable-constraint",
        "- {name: a, deny: [80-90]}\n- {name: b, deny: [85/tcp]}\n",
        "- {name: a, deny: [80-90/udp]}\n- {name: b, deny: [85/tcp]}\n",
    ),
    (  # an earlier one that only records shadows no enforced one
        "unreachable-constraint",
        "- {name: a, deny: [80]}\n- {name: b, mode: record, deny: [80]}\n",
        "- {name: a, mode: record, deny: [80]}\n- {name: b, deny: [80]}\n",
    ),
    (
        "unreachable-constraint",
        "- {name: a, for: {unit: 'x-*.service'}, deny: [80]}\n"
        "- {name: b, for: {unit: x-1.service}, deny: [80]}\n",
        "- {name: a, for: {unit: x-1.service}, deny: [80]}\n"
        "- {name: b, for: {unit: 'x-*.service'}, deny: [80]}\n",
    ),
    (
        "unreachable-constraint",
        "- {name: a, addresses: [0.0.0.0/0, '::/0'], deny: [80]}\n"
        "- {name: b, addresses: [loopback], deny: [80]}\n",
        "- {name: a, addresses: [loopback], deny: [80]}\n- {name: b, deny: [80]}\n",
    ),
    (
        "unreachable-constraint",
        "- {name: a, network: any, deny: [80]}\n- {name: b, network: host, deny: [80]}\n",
        "- {name: a, network: host, deny: [80]}\n- {name: b, network: any, deny: [80]}\n",
    ),
    (  # two together cover what neither does alone, and so do the ports of several
        "unreachable-constraint",
        "- {name: a, deny: [80-84]}\n- {name: b, deny: [85-90]}\n- {name: c, deny: [82-88]}\n",
        "- {name: a, deny: [80-84]}\n- {name: b, deny: [86-90]}\n- {name: c, deny: [82-88]}\n",
    ),
    (
        "unreachable-constraint",
        "- {name: a, deny: []}\n",
        "- {name: a, deny: [1]}\n",
    ),
    (
        "unreachable-constraint",
        "- {name: a, except: {user: x}, deny: [80]}\n"
        "- {name: b, except: [{user: x}, {user: y}], deny: [80]}\n",
        "- {name: a, except: [{user: x}, {user: y}], deny: [80]}\n"
        "- {name: b, except: {user: x}, deny: [80]}\n",
    ),
    (
        "picked-ports-only",
        "- {name: a, allow: [80]}\n- {name: b, for: {user: x}, deny: [8080]}\n",
        "- {name: a, for: {user: y}, allow: [80]}\n- {name: b, for: {user: x}, deny: [8080]}\n",
    ),
    (
        "matches-nobody",
        "- {name: a, for: {unit: x.service}, except: {unit: '*.service'}, deny: [80]}\n",
        "- {name: a, for: {unit: '*.service'}, except: {unit: x.service}, deny: [80]}\n",
    ),
    (
        "unused-entry",
        "- {name: a, deny: [80]}\n- {name: b, for: {user: x}, allow: [80, 81]}\n",
        "- {name: a, for: {user: y}, deny: [80]}\n- {name: b, for: {user: x}, allow: [80, 81]}\n",
    ),
    (
        "unused-entry",
        "- {name: a, deny: [80-90], allow: [85, 95]}\n",
        "- {name: a, deny: [80-90], allow: [85-95]}\n",
    ),
    (
        "repeated-entry",
        "- {name: a, allow: [80-90, 85/tcp]}\n",
        "- {name: a, allow: [80-90/tcp, 85]}\n",
    ),
    (
        "shared-ports",
        "- {name: a, for: {unit: a.service}, allow: [8000-8099/tcp]}\n"
        "- {name: b, for: {unit: b.service}, allow: [8099-8100/tcp]}\n",
        "- {name: a, for: {unit: a.service}, allow: [8000-8099/tcp]}\n"
        "- {name: b, for: {unit: b.service}, allow: [8099-8100/udp]}\n",
    ),
    (
        "shared-ports",
        "- {name: a, for: {unit: a.service}, addresses: [loopback], allow: [8080]}\n"
        "- {name: b, for: {unit: b.service}, addresses: [wildcard], allow: [8080]}\n",
        "- {name: a, for: {unit: a.service}, addresses: [loopback], allow: [8080]}\n"
        "- {name: b, for: {unit: b.service}, addresses: [private], allow: [8080]}\n",
    ),
    (  # the same workload twice is no two workloads
        "shared-ports",
        "- {name: a, for: {unit: a.service}, allow: [8080], otherwise: continue}\n"
        "- {name: b, for: {unit: b.service}, allow: [8080]}\n",
        "- {name: a, for: {unit: a.service}, mode: record, allow: [8080]}\n"
        "- {name: b, for: {unit: '*.service'}, allow: [8080]}\n",
    ),
    (  # containers have networks of their own
        "shared-ports",
        "- {name: a, for: {container: a}, network: host, allow: [8080]}\n"
        "- {name: b, for: {container: b}, network: host, allow: [8080]}\n",
        "- {name: a, for: {container: a}, allow: [8080]}\n"
        "- {name: b, for: {container: b}, allow: [8080]}\n",
    ),
    (
        "catalog-overlap",
        "- {name: a, for: {unit: shop.service}, allow: [2378-2390/tcp]}\n",
        "- {name: a, for: {unit: etcd.service}, allow: [2378-2390/tcp]}\n",
    ),
    (
        "catalog-overlap",
        "- {name: a, for: {unit: shop.service}, allow: [5432]}\n",
        "- {name: a, for: {unit: shop.service}, allow: [5400-5500]}\n",
    ),
    (
        "catalog-overlap",
        "- {name: a, for: {unit: shop.service}, allow: [22]}\n",
        "- {name: a, for: {unit: shop.service}, allow: ['catalog:ssh']}\n",
    ),
    (
        "accepts-nothing",
        "- {name: a, deny: [80], accept: [catalog-overlap]}\n",
        "- {name: a, deny: [80], accept: [ephemeral-range]}\n",  # that depends on the machine
    ),
    (
        "ephemeral-udp-open",
        "- {name: a, for: {user: x}, deny: [ephemeral/tcp]}\n",
        "- {name: a, for: {user: x}, deny: [ephemeral]}\n",
    ),
]


@pytest.mark.parametrize(("kind", "bad", "good"), CASES)
def test_a_lint_and_its_nearest_miss(kind: str, bad: str, good: str) -> None:
    """A lint fires on the policy that has it, and nothing does on the nearest that has it not."""
    assert [one.id for one in findings(bad)] == [kind]
    assert findings(good) == []


def test_every_pure_lint_has_a_case() -> None:
    """No lint is without a policy that shows what it is for."""
    assert {kind for kind, _, _ in CASES} == set(IDS)


def test_ephemeral_is_worth_saying() -> None:
    """An allow list that names `ephemeral` says what is meant, though such binds pass anyhow."""
    assert (
        findings("- {name: a, for: {user: x}, allow: [ephemeral/udp], otherwise: continue}\n") == []
    )


def test_a_finding_says_where_and_by_whom() -> None:
    """A shadowed constraint is told at its own place, with the name and place of what shadows."""
    (found,) = findings("- {name: a, deny: [80-90]}\n- {name: b, deny: [85/tcp]}\n")
    assert found.place == "p.yaml:5:3"
    assert found.reason == "b: it decides nothing: a (p.yaml:4) decided all of it before"
    assert found.remedy


def test_shared_ports_say_which() -> None:
    """Shared ports are told as ranges, with the place of the other workload."""
    (found,) = findings(
        "- {name: a, for: {unit: a.service}, allow: [8000-8099/tcp, 9000]}\n"
        "- {name: b, for: {unit: b.service}, allow: [8090-8190, 9000/udp]}\n"
    )
    assert "8090-8099/tcp, 9000/udp with a (p.yaml:4)" in found.reason


def test_many_sharers_are_named_in_part() -> None:
    """A port that many workloads share is one short finding a workload."""
    line = "- {{name: c{0}, for: {{unit: u{0}.service}}, allow: [80]}}\n"
    text = "".join(line.format(number) for number in range(9))
    found = findings(text)
    assert len(found) == 8
    assert found[-1].reason.count("p.yaml") == 3
    assert "and more" in found[-1].reason


def test_a_machines_own_sets_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports that this machine's own catalog names are told in whatever range they lie."""
    text = "paydesk: {description: the pay desk, source: us, ports: [7700/tcp]}\n"
    (tmp_path / "own.yaml").write_text(text)
    rule = "- {name: a, for: {unit: shop.service}, allow: [7000-7999]}\n"
    assert findings(rule) == []
    monkeypatch.setenv("PORTWATCH_CATALOG_DIR", str(tmp_path))
    (found,) = findings(rule)
    assert "7700/tcp of catalog:paydesk" in found.reason


def test_the_default_is_read_too() -> None:
    """An allow that keeps a workload from a later denial is not told, whatever the default."""
    head = "version: 1\nmode: record\ndefault: deny\nconstraints:\n"
    assert findings("- {name: a, allow: [80], otherwise: continue}\n", head) == []


def test_the_builtin_policy_has_no_findings() -> None:
    """What everybody starts with is clean."""
    assert lint(builtin_policy()) == []


CONTRACT = """\
version: 1
mode: enforce
default: allow
define:
  ports:     {web: [8000-8099/tcp], metrics: [9100-9199/tcp]}
  addresses: {mesh: [10.1.0.0/16, "fd00:1::/64"]}
  workloads: {shop: {unit: "shop-*.service"}, ci: [{user: ci}, {cgroup: "/ci/**"}]}
constraints:
  - name: etcd-belongs-to-etcd
    except: {unit: etcd.service}
    network: host
    deny: [catalog:etcd]
    reason: "2379-2380 are reserved for etcd"
  - name: shop
    for: shop
    addresses: [loopback, mesh]
    allow: [web, metrics]
"""


def test_a_policy_as_people_write_it_has_no_findings() -> None:
    """The policy that everybody sees first, ranges with some exporter's port and all, is clean."""
    assert lint(parse_policy([("p.yaml", CONTRACT)])) == []


SHARED = """\
- {{name: a, for: {{unit: a.service}}, allow: [8080]{0}}}
- {{name: b, for: {{unit: b.service}}, allow: [8080]{1}}}
- {{name: c, for: {{unit: c.service}}, allow: [{2}]}}
"""
ACCEPTED = ", accept: [shared-ports]"


@pytest.mark.parametrize(
    ("sides", "open_"),
    [
        (("", ACCEPTED), ["c: it shares 8080 with a (p.yaml:4)"]),
        ((ACCEPTED, ""), ["c: it shares 8080 with b (p.yaml:5)"]),
        ((ACCEPTED, ACCEPTED), []),
    ],
)
def test_what_is_shared_is_accepted_by_either(sides: tuple[str, str], open_: list[str]) -> None:
    """One of the two says so and both have it; two others that share are told all the same."""
    assert findings(SHARED.format(*sides, 9090)) == []
    told = findings(SHARED.format(*sides, 8080))
    assert [one.reason.partition(": whoever")[0] for one in told] == open_


def test_a_third_is_told_whoever_else_accepts() -> None:
    """Many that accept do not hide one that does not."""
    line = "- {{name: c{0}, for: {{unit: u{0}.service}}, allow: [80]{1}}}\n"
    text = "".join(line.format(number, ACCEPTED if number < 7 else "") for number in range(9))
    (found,) = findings(text)
    assert found.reason.startswith("c8: it shares 80 with c7 (")


def test_one_kind_is_accepted_and_no_other() -> None:
    """Of one constraint and of one kind: the same of another one, and another of this one, are
    told."""
    rules = (
        "- {name: a, for: {user: a}, allow: [5432, 81, 81/tcp], accept: [catalog-overlap]}\n"
        "- {name: b, for: {user: b}, allow: [6379]}\n"
    )
    told = [(one.id, one.reason[0]) for one in findings(rules)]
    assert told == [("repeated-entry", "a"), ("catalog-overlap", "b")]


def test_whatever_locks_nobody_out_can_be_accepted() -> None:
    """The language's words are the lints' ids, but for lock-outs and for `accepts-nothing`."""
    assert {*get_args(Acceptable)} == {*IDS, *MACHINE_IDS} - {*URGENCY, STALE}
