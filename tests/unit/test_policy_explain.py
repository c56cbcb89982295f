"""explain() says in plain sentences why each constraint did what it did."""

from __future__ import annotations

import pytest

from portwatch.policy.decide import Endpoint, explain
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import Subject

POLICY = """\
version: 1
mode: enforce
default: deny
define:
  workloads: {shop: [{unit: "shop-*.service"}, {user: shop}]}
constraints:
  - {name: etcd, except: {unit: etcd.service}, network: host, deny: [catalog:etcd]}
  - {name: trial, mode: record, deny: [9000]}
  - {name: later, mode: record, allow: [9000-9001], otherwise: continue}
  - {name: shop, for: shop, addresses: [loopback], allow: [8000-8099]}
  - {name: root, for: {user: root}, deny: [1], otherwise: continue}
"""
ETCD = Subject("/system.slice/etcd.service", 5, user="etcd")
SHOP = Subject("/system.slice/shop-a.service", 6)
LOOPBACK = Address.parse("127.0.0.1")


@pytest.mark.parametrize(
    ("who", "what", "lines"),
    [
        (
            SHOP,
            Endpoint("tcp", 2379, DUAL),
            ["etcd: denies: 2379/tcp is in its deny list (catalog:etcd)"],
        ),
        (
            Subject("/x", 6, host_network=False),
            Endpoint("tcp", 9000, LOOPBACK),
            [
                "etcd: does not apply: the bind is not in the host's network namespace",
                "trial: would deny, but it only records: 9000/tcp is in its deny list",
                "later: would allow, but it only records, and an earlier one has spoken: "
                "9000/tcp is in its allow list (9000-9001)",
                "shop: does not apply: cgroup /x (no unit) is not shop",
                "root: does not apply: user 6 is not root",
                "default: no constraint decides; default: deny",
            ],
        ),
        (
            ETCD,
            Endpoint("tcp", 2380, LOOPBACK),
            [
                "etcd: does not apply: unit etcd.service is excepted",
                "trial: in neither list; otherwise: continue",
                "later: in neither list; otherwise: continue",
                "shop: does not apply: unit etcd.service is not shop",
                "root: does not apply: user etcd is not root",
                "default: no constraint decides; default: deny",
            ],
        ),
        (
            SHOP,
            Endpoint("udp", 8000, LOOPBACK),
            [
                "etcd: in neither list; otherwise: continue",
                "trial: in neither list; otherwise: continue",
                "later: in neither list; otherwise: continue",
                "shop: allows: 8000/udp is in its allow list (8000-8099), for address 127.0.0.1",
            ],
        ),
        (
            SHOP,
            Endpoint("tcp", 8000, DUAL),
            [
                "etcd: in neither list; otherwise: continue",
                "trial: in neither list; otherwise: continue",
                "later: in neither list; otherwise: continue",
                "shop: denies: :: (and 0.0.0.0) is not among its addresses; otherwise: deny",
            ],
        ),
        (
            ETCD,
            Endpoint("tcp", 0, LOOPBACK),
            [
                "etcd: does not apply: unit etcd.service is excepted",
                "trial: says nothing of ephemeral/tcp: only its lists could",
                "later: says nothing of ephemeral/tcp: only its lists could",
                "shop: does not apply: unit etcd.service is not shop",
                "root: does not apply: user etcd is not root",
                "default: no list denies ephemeral/tcp, so it is let through",
            ],
        ),
    ],
)
def test_each_step_is_one_sentence(who: Subject, what: Endpoint, lines: list[str]) -> None:
    """Every constraint up to the deciding one is named, with the reason for what it did."""
    _, steps = explain(parse_policy([("a", POLICY)]), who, what)
    assert [f"{step.name}: {step.why}" for step in steps] == lines


@pytest.mark.parametrize(
    ("cgroup", "constraint", "said"),
    [
        (
            "/user.slice/user-7.slice/user@7.service/app.slice/etcd.service",
            "{name: c, except: {unit: etcd.service}, deny: [2379]}",
            "denies: 2379/tcp is in its deny list; that name is user 7's own, and counts only "
            "beside `slice`, `cgroup`, `user` or `group`",
        ),
        (
            "/user.slice/user-7.slice/user@7.service/app.slice/shop-a.service",
            "{name: c, for: {unit: shop-*.service}, deny: [2379]}",
            "does not apply: unit user@7.service/shop-a.service is not shop-*.service; that name "
            "is user 7's own, and counts only beside `slice`, `cgroup`, `user` or `group`",
        ),
        (
            f"/system.slice/ci.service/docker-{'ab' * 32}.scope",
            "{name: c, for: {container: abababababab}, deny: [2379]}",
            "does not apply: container abababababab is not abababababab; that name is ci.service's "
            "own, and counts only beside `unit`, `slice`, `cgroup`, `user` or `group`",
        ),
    ],
)
def test_a_name_that_does_not_count(cgroup: str, constraint: str, said: str) -> None:
    """Where a selector seems to mean a workload and does not, it is said why."""
    policy = parse_policy([("p.yaml", f"mode: enforce\nconstraints: [{constraint}]\n")])
    _, steps = explain(policy, Subject(cgroup), Endpoint("tcp", 2379, LOOPBACK))
    assert steps[0].why == said
