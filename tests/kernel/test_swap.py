"""A swap is atomic: under a storm of binds each one is judged by one policy or the other."""

from __future__ import annotations

import pytest
from binder import Bind, Binder, StartBinder
from guard import NO_ACCOUNTS, Guard

from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import Subject

SWAPS = 1000
STORM_PAUSE_SECONDS = 0.004  # between 64 binds: the machine has two CPUs, and one is to swap
CGROUPS = ("/shop", "/ci/job", "/other")
BALLAST = 5  # constraints of no consequence, so that no class has the same number in both

ACCOUNT_NAMES = {number: name for name, number in NO_ACCOUNTS.users.items()}


def ballast(tag: str, count: int) -> str:
    """Constraints over every dimension that decide none of the storm's binds."""
    return "".join(
        f"  - {{name: {tag}-{n}, for: [{{cgroup: /{tag}/{n}}}, {{user: {7000 + n}}}],"
        f" addresses: [172.{16 + n % 16}.{n}.0/24, 'fd00:{n}::/32'],"
        f" deny: [{20000 + n}-{20100 + n}]}}\n"
        for n in range(count)
    )


# A denies with EACCES and EPERM, B with EADDRNOTAVAIL and EADDRINUSE. Where a table of one were
# read with an index of the other, some bind would get what neither gives it.
POLICY_A = f"""
version: 1
mode: enforce
constraints:
{ballast("a", BALLAST)}
  - {{name: a-p, addresses: [127.0.0.0/16, 127.1.2.0/24, "::1", 0.0.0.0, "::"], deny: [9000]}}
  - {{name: a-shop, for: {{cgroup: "/shop/**"}}, errno: EPERM, deny: [9100, 9101/udp]}}
  - {{name: a-alice, for: {{user: alice}}, except: {{cgroup: "/ci/*"}}, errno: EPERM, deny: [9200]}}
  - {{name: a-mesh, addresses: [10.1.0.0/16], errno: EPERM, deny: [9300]}}
  - {{name: a-q, allow: [9001], otherwise: continue}}
"""
POLICY_B = f"""
version: 1
mode: enforce
errno: EADDRNOTAVAIL
constraints:
  - {{name: b-p, allow: [9000], otherwise: continue}}
  - {{name: b-q, addresses: [127.0.0.0/8, "::1", 0.0.0.0, "::"], deny: [9001]}}
  - {{name: b-ci, for: {{cgroup: "/ci/*"}}, errno: EADDRINUSE, deny: [9100]}}
  - {{name: b-bob, for: {{user: bob}}, errno: EADDRINUSE, deny: [9200]}}
  - {{name: b-mesh, addresses: [10.0.0.0/8, "fd00:1::/64"], errno: EADDRINUSE, deny: [9300]}}
{ballast("b", 2 * BALLAST)}
"""

BINDS = [
    Bind(port, address, protocol, uid=uid, v6only=False if address == "::" else None)
    for uid in (0, 1000, 1001)
    for port, address, protocol in (
        (9000, "127.0.0.1", "tcp"),
        (9000, "127.1.2.3", "udp"),
        (9000, "::1", "tcp"),
        (9000, "::", "tcp"),
        (9001, "127.0.0.1", "tcp"),
        (9001, "0.0.0.0", "udp"),
        (9001, "::ffff:127.0.0.1", "tcp"),
        (9100, "127.0.0.1", "tcp"),
        (9101, "127.0.0.1", "udp"),
        (9200, "::1", "tcp"),
        (9300, "10.1.2.3", "tcp"),
        (9300, "10.2.2.3", "udp"),
        (9300, "fd00:1::5", "tcp"),
        (9400, "172.16.1.1", "tcp"),
    )
]


def expected(policy: Policy, bind: Bind, cgroup: str) -> str:
    """What the reference says of a bind: the errno's name, or ok."""
    uid = max(bind.uid, 0)
    address = DUAL if bind.v6only is False else Address.parse(bind.address)
    subject = Subject(cgroup, uid, 0, ACCOUNT_NAMES.get(uid), None)
    decision = decide(policy, subject, Endpoint(bind.protocol, bind.port, address))
    return decision.errno or "ok"


@pytest.mark.native("a storm wants a CPU of its own")
def test_a_thousand_swaps_under_a_storm(guard: Guard, start_binder: StartBinder) -> None:
    """Of all the binds that four processes make during 1,000 swaps each is explained by one of the
    two policies, none went unjudged, every one is counted with its verdict, and a bind made after
    a swap gets the new policy."""
    policies = {text: parse_policy([("policy.yaml", text)]) for text in (POLICY_A, POLICY_B)}
    storms: list[tuple[str, Binder]] = []
    for cgroup in (*CGROUPS, CGROUPS[0]):
        storms.append((cgroup, start_binder(guard.make(cgroup))))
    witness = start_binder(guard.make(CGROUPS[0]))
    explained = {
        cgroup: [{expected(policy, bind, cgroup) for policy in policies.values()} for bind in BINDS]
        for cgroup in CGROUPS
    }
    assert sum(len(answers) == 2 for answers in explained["/shop"]) >= 20
    guard.publish(POLICY_B)
    for _, binder in storms:
        binder.start_storm(BINDS, STORM_PAUSE_SECONDS)

    told = [Bind(9000), Bind(9001), Bind(9100), Bind(9300, "10.1.2.3")]
    witnessed: dict[str, int] = {}
    for number in range(SWAPS):
        text = (POLICY_A, POLICY_B)[number % 2]
        guard.swap(policies[text], text)
        said = [answer.said for answer in witness.answers(told)]
        assert said == [expected(policies[text], bind, CGROUPS[0]) for bind in told], number
        for answer in said:
            witnessed[answer] = witnessed.get(answer, 0) + 1

    made = sum(witnessed.values())
    passed = witnessed["ok"]
    both: dict[str, set[int]] = {cgroup: set() for cgroup in CGROUPS}
    for cgroup, binder in storms:
        answers: dict[int, set[str]] = {}
        for (index, said_once), count in binder.end_storm().items():
            answers.setdefault(index, set()).add(said_once)
            made += count
            passed += count * (said_once == "ok")
        for index, got in answers.items():
            assert got <= explained[cgroup][index], (cgroup, BINDS[index])
            if len(got) == 2:
                both[cgroup].add(index)
    # The storm was one: both policies were met, by every bind that they differ on.
    for cgroup in CGROUPS:
        differing = {n for n, answers in enumerate(explained[cgroup]) if len(answers) == 2}
        assert both[cgroup] == differing

    assert guard.totals.unjudged == 0
    assert guard.verdicts() == {"allowed": passed, "denied": made - passed}
    assert sum(guard.violations.values()) == made - passed
    for cgroup, binder in storms:
        said = [answer.said for answer in binder.answers(BINDS)]
        assert said == [expected(policies[POLICY_B], bind, cgroup) for bind in BINDS]


def test_nothing_of_an_old_policy_stays_in_the_tables(guard: Guard) -> None:
    """After many swaps the tables hold the entries of the live policy's generation alone."""
    for path in CGROUPS:
        guard.make(path)
    for number in range(10):
        guard.publish((POLICY_A, POLICY_B)[number % 2])
    generation = guard.publisher.slots.generation.to_bytes(4, "little")
    offsets = {"addresses": 4, "cgroups": 8, "accounts": 0, "policy": 0}
    for name, offset in offsets.items():
        opened = guard.pin_dir.open_map(name)
        assert {key[offset : offset + 4] for key, _ in opened.items()} == {generation}, name
        opened.close()
