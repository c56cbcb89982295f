"""What a policy says of pods that are not known yet, in both of its readings."""

from __future__ import annotations

import pytest
from policy_strategies import ACCOUNTS, CONTAINER_ID, POD_UID

from portwatch.errors import PolicyError
from portwatch.policy.decide import Decision, decide
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.merge import extend
from portwatch.policy.reading import Endpoint
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.addresses import V4_WILDCARD
from portwatch.policy.workload import KnownContainer, KnownPod, Subject

POD = f"/kubepods/burstable/pod{POD_UID}/{CONTAINER_ID}"
KNOWN = KnownContainer(pod=KnownPod(POD_UID, "shop", "api-0", (("app", "api"),)))
PORT = Endpoint("tcp", 9000, V4_WILDCARD)


def said(text: str, subject: Subject, endpoint: Endpoint = PORT) -> Decision:
    """What reference and tables say of a bind."""
    policy = parse_policy([("p.yaml", text)])
    decision = decide(policy, subject, endpoint)
    outcome = Lookups(compile_policy(policy, ACCOUNTS)).decide(subject, endpoint)
    assert outcome.verdict == decision.verdict
    return decision


@pytest.mark.parametrize(
    ("mode", "unknown", "verdict", "constraint"),
    [
        ("enforce", "deny", "denied", "unknown-pods"),
        ("record", "deny", "recorded", "unknown-pods"),
        ("enforce", "allow", "allowed", "unknown-pods"),
        ("record", "allow", "allowed", None),
    ],
)
def test_by_the_files_mode(mode: str, unknown: str, verdict: str, constraint: str | None) -> None:
    """It is the first constraint, in the file's mode: before one that denies all pods."""
    text = f"version: 1\nmode: {mode}\npods: {{unknown: {unknown}}}\nconstraints:\n"
    text += '  - {name: none, for: {pod: "*"}, deny: [9000]}\n'
    decision = said(text, Subject(POD))
    assert (decision.verdict, decision.constraint) == (verdict, constraint)
    assert said(text, Subject(POD, container=KNOWN)).constraint == "none"


def test_one_that_only_records_changes_no_verdict() -> None:
    """In a file that records, a constraint that enforces denies an unknown pod all the same."""
    text = "version: 1\nmode: record\npods: {unknown: allow}\nconstraints:\n"
    text += '  - {name: none, for: {pod: "*"}, deny: [9000], mode: enforce}\n'
    assert said(text, Subject(POD)).verdict == "denied"


def test_whom_it_is_about() -> None:
    """Pods that are not known and the cgroups that pods begin in; not who is claimed to be a pod,
    nobody else, and no client that lets the kernel pick its port."""
    text = "version: 1\nmode: enforce\npods: {unknown: deny}\n"
    for cgroup in (POD, "/kubepods/burstable", "/kubepods.slice/kubepods-besteffort.slice"):
        assert said(text, Subject(cgroup)).verdict == "denied"
    claimed = f"/system.slice/ci.service/kubepods/pod{POD_UID}"
    for cgroup in ("/", "/system.slice/a.service", claimed):
        assert said(text, Subject(cgroup)).verdict == "allowed"
    assert said(text, Subject(POD), Endpoint("tcp", 0, V4_WILDCARD)).verdict == "allowed"
    reason = said(text, Subject(POD)).reason
    assert reason == "nothing is known of this pod yet"


def test_it_is_said_once() -> None:
    """In one file only, as everything that is about the whole policy."""
    text = "version: 1\npods: {unknown: deny}\n"
    with pytest.raises(PolicyError) as raised:
        parse_policy([("a.yaml", text), ("b.yaml", text.partition("\n")[2])])
    assert str(raised.value.problems[0]) == "b.yaml:1:1: `pods` is already set at a.yaml:2:1"


def test_learning_leaves_it_alone() -> None:
    """`learn --merge` puts what is missing before the constraint that is too short, and nothing
    before what denies for want of knowing the pod."""
    text = "version: 1\npods: {unknown: deny}\nconstraints:\n"
    text += "  - name: web\n    for: {unit: web.service}\n    allow: [80]\n"
    binds = [
        SeenBind("/system.slice/web.service", "tcp", 9000, V4_WILDCARD, uid=0, times=1),
        SeenBind(POD, "tcp", 9000, V4_WILDCARD, uid=0, times=1),
    ]
    extended = extend("p.yaml", text, binds, ACCOUNTS, 1)
    names = [one.name for one in parse_policy([("p.yaml", extended.text)]).constraints]
    assert names == ["unknown-pods", "web-2", "web"]
    assert [bind.cgroup for bind in extended.refused] == [POD]
