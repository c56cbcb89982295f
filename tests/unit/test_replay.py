"""Event logs, and what a policy would have said to the binds in them."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, binds, policies

from portwatch.agent.events.bind_log import BindLog, stored_bytes
from portwatch.agent.events.workload import told_parts
from portwatch.errors import UsageError
from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.pod import DeclaredPort
from portwatch.policy.replay.bind import BadEvent, read_bind
from portwatch.policy.replay.replay import Replay, ReplayedKind
from portwatch.policy.source.load import parse_policy
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import Subject

ID = "3f2a" * 16


def event(port: int = 8080, **more: Any) -> dict[str, Any]:
    """A logged bind by shop.service, as the agent writes it; `bind`, `workload` and `process` are
    updated by what is given."""
    base: dict[str, Any] = {
        "time": "2026-01-02T03:04:05.678901Z",
        "kind": "bind",
        "verdict": "allowed",
        "bind": {
            "protocol": "tcp",
            "family": "ipv4",
            "address": "0.0.0.0",
            "port": port,
            "requested_port": port,
            "network": "host",
        },
        "workload": {
            "name": "shop.service",
            "cgroup": "/system.slice/shop.service",
            "unit": "shop.service",
        },
        "process": {"pid": 1, "comm": "shop", "uid": 0, "gid": 0},
        "count": 1,
    }
    for key in ("bind", "workload", "process"):
        base[key] |= more.pop(key, {})
    return base | more


def replayed(text: str, *events: Any) -> Replay:
    """These events under this policy."""
    replay = Replay(parse_policy([("policy.yaml", text)]), ACCOUNTS)
    for one in events:
        bind = read_bind(one)
        if bind is not None:
            replay.take(bind)
    return replay


def verdicts(text: str, *events: Any) -> dict[tuple[str, str], int]:
    """Port and verdict now → how many."""
    return {(kind.port, kind.now): n for kind, n in replayed(text, *events).counts.items()}


def enforced(*constraints: str) -> str:
    """An enforced policy of these."""
    return "mode: enforce\nconstraints:\n" + "".join(f"  - {{{one}}}\n" for one in constraints)


def test_binds_alike_are_one_kind() -> None:
    """Counted together, with the verdict then and now, and by which constraint."""
    old = event(9000, kind="violation", verdict="recorded", constraint="old", count=3)
    replay = replayed(
        enforced("name: shop, for: {unit: shop.service}, allow: [8080]"),
        *(event(), event(count=4), old, event(9001)),
    )
    assert replay.kinds() == [
        (ReplayedKind("shop.service", "tcp", port, "wildcard", then, by, now, now_by), count)
        for port, then, by, now, now_by, count in (
            ("9000", "recorded", "old", "denied", "shop", 3),
            ("9001", "allowed", None, "denied", "shop", 1),
            ("8080", "allowed", None, "allowed", None, 5),
        )
    ]


def test_whether_the_pod_declared_the_port_is_taken_from_the_event() -> None:
    """Bind by bind; what no event says of is nothing that is declared."""
    constraint = enforced("name: own, for: {pod: '*'}, allow: [declared]")
    uid = "0b1c2d3e-1111-2222-3333-444455556666"
    pod = {"namespace": "shop", "name": "api-0", "uid": uid, "service_account": "api"}
    workload = {"cgroup": f"/kubepods/burstable/pod{uid}/{ID}", "pod": pod}
    said = verdicts(
        constraint,
        event(1, workload=workload, bind={"declared": True}),
        event(2, workload=workload, bind={"declared": False}),
        event(3, workload=workload),
        event(4, workload=workload | {"pod": {"uid": uid}}, bind={"declared": True}),
        event(5, bind={"declared": True}),
        event(1, workload=workload, bind={"declared": True, "protocol": "mptcp"}),
    )
    assert said == {
        ("1", "allowed"): 2,
        **dict.fromkeys([("2", "denied"), ("3", "denied"), ("4", "denied"), ("5", "allowed")], 1),
    }


def test_what_the_events_say_of_the_workload_decides() -> None:
    """Container, image, user, network and address are taken from the event alone."""
    constraints = enforced(
        "name: db, for: {container: db}, deny: [1]",
        "name: pg, for: {image: postgres}, deny: [2]",
        "name: alice, for: {user: alice}, deny: [3]",
        "name: inside, network: host, deny: [4]",
        "name: v6, addresses: ['::'], deny: [5]",
    )
    container = {"cgroup": f"/system.slice/docker-{ID}.scope"}
    container["container"] = {"id": ID, "name": "db", "image": "postgres:16"}  # type: ignore[assignment]
    said = verdicts(
        constraints,
        event(1, workload=container),
        event(2, workload=container),
        event(3, process={"uid": 1000}),
        event(4, bind={"network": "net:[4026532211]"}),
        event(5, bind={"address": "::"}),
        event(6, process={"uid": 1000}),
    )
    assert said == {(str(port), "denied"): 1 for port in (1, 2, 3, 5)} | {
        (str(port), "allowed"): 1 for port in (4, 6)
    }


def test_a_claimed_container_is_only_claimed() -> None:
    """What nobody proved counts only beside a witness, as it did for the agent."""
    path = f"/system.slice/a.service/libpod-payload-{ID}"
    container = {"id": ID, "name": "db", "claimed": True}
    proved = {"id": ID, "name": "db"}
    text = enforced("name: db, for: {container: db}, deny: [1]")
    claims = event(1, workload={"cgroup": path, "container": container})
    assert verdicts(text, claims) == {("1", "allowed"): 1}
    assert verdicts(text, event(1, workload={"cgroup": path, "container": proved})) == {
        ("1", "denied"): 1
    }


def test_picked_ports() -> None:
    """A bind to port 0 is ephemeral; one that listens on a picked port is decided as it listens."""
    text = enforced("name: shop, allow: [8080]", "name: never, deny: [ephemeral]")
    picked = event(0, bind={"port": 40000})
    assert verdicts(text, event(0)) == {("ephemeral", "denied"): 1}
    assert verdicts(enforced("name: a, allow: [8080]"), event(0)) == {("ephemeral", "allowed"): 1}
    assert verdicts(enforced("name: a, allow: [8080]"), picked | {"verdict": "recorded"}) == {
        ("picked 40000", "recorded"): 1
    }
    assert verdicts(enforced("name: a, deny: [40000]"), picked) == {("picked 40000", "denied"): 1}


def test_the_tail_of_a_burst_goes_with_its_beginning() -> None:
    """It tells neither address nor process; what came before it says whose it is."""
    tail = {
        "kind": "violation",
        "verdict": "denied",
        "constraint": "old",
        "bind": {"protocol": "tcp", "port": 9000},
        "workload": {"name": "shop.service"},
        "count": 7,
    }
    begun = event(9000, kind="violation", verdict="denied", constraint="old")
    text = enforced("name: shop, deny: [9000]")
    assert verdicts(text, begun, tail) == {("9000", "denied"): 8}
    alone = replayed(text, tail)
    assert (alone.counts, alone.unjudged) == ({}, 7)


def test_other_events_are_passed_over() -> None:
    """What is about no bind that was judged is nothing to replay."""
    for kind in ("policy", "lost", "collision", "listener", "of the future"):
        assert read_bind({"kind": kind}) is None


@pytest.mark.parametrize(
    "broken",
    [
        *(None, 3, [], "x", {}, {"kind": 3}),
        *(event() | {key: None} for key in ("bind", "workload", "verdict")),
        *(event() | {"count": value} for value in ("1", -1, True, 1 << 70)),
        *(event(bind={"port": value}) for value in (65536, -1, "80", None)),
        *(event(bind={"address": value}) for value in ("x", "fe80::1%1")),
        *(event(bind={"protocol": value}) for value in ("x", None, [])),
        *(event(process={"uid": value}) for value in ("root", -1, 1 << 40)),
        event(workload={"cgroup": "no/path"}),
        event(verdict=[]),
    ],
)
def test_what_is_no_event_is_refused(broken: Any) -> None:
    """With a reason, and never a traceback."""
    with pytest.raises(BadEvent):
        read_bind(broken)


@settings(max_examples=60, deadline=None)
@given(policies(), st.integers(0, 1 << 32))
def test_a_replay_is_what_decide_says(text: str, seed: int) -> None:
    """For any policy and any bind that an event can tell of."""
    policy = parse_policy([("policy.yaml", text)])
    for drawn, endpoint in binds(policy, seed, 40):
        if endpoint.listening:
            continue
        who = declaring(drawn, endpoint) if seed % 2 else drawn
        one = event_of(who, endpoint)
        bind = read_bind(json.loads(json.dumps(one)))
        assert bind is not None
        replay = Replay(policy, ACCOUNTS)
        replay.take(bind)
        ((kind, _),) = replay.kinds()
        said = decide(policy, who, endpoint)
        by = None if said.verdict == "allowed" else said.constraint
        assert (kind.now, kind.now_by) == (said.verdict, by)


def declaring(who: Subject, endpoint: Endpoint) -> Subject:
    """Where it is in a pod, with the port declared."""
    if who.container is None or who.container.pod is None:
        return who
    declared = (DeclaredPort(endpoint.protocol, endpoint.port),)
    pod = replace(who.container.pod, declared_ports=declared)
    return replace(who, container=replace(who.container, pod=pod))


def event_of(who: Subject, endpoint: Endpoint) -> dict[str, Any]:
    """The event that the agent would have written."""
    workload: dict[str, Any] = {"name": "w", "cgroup": who.cgroup}
    known = who.container
    if known is not None:
        images = dict(zip(("image", "image_id"), known.images, strict=False))
        workload["container"] = {"id": ID, "name": known.name, **images}
        if place_of(who.cgroup).is_claimed and not known.is_verified:
            workload["container"]["claimed"] = True
        if known.pod is not None:
            workload["pod"] = told_parts(known.pod) | {"uid": known.pod.uid}
    return event(
        workload=workload,
        process={"uid": who.uid, "gid": who.gid},
        bind={
            "protocol": endpoint.protocol,
            "address": str(endpoint.address),
            "v6only": not endpoint.address.dual,
            "port": endpoint.port,
            "requested_port": 0 if endpoint.picked else endpoint.port,
            "network": "host" if who.host_network else "net:[7]",
            "declared": who.declares(endpoint.protocol, endpoint.port),
        },
    )


def lines(*events: Any) -> bytes:
    """A log of these."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def test_a_log_that_was_torn(tmp_path: Path) -> None:
    """The last line may be half of one; others that are no events are told with their place."""
    path = tmp_path / "events.jsonl"
    whole = lines(event(1), event(2))
    path.write_bytes(b"\n" + whole + b'not json\n{"kind": 1}\n\xff\n' + lines(event(3))[:40])
    log = BindLog([str(path)])
    assert [bind.port for bind in log.binds()] == [1, 2]
    assert log.bad == 3
    assert [text.split(":")[1] for text in log.bad_lines] == ["4", "5", "6"]


def test_the_last_line_may_lack_its_end(tmp_path: Path) -> None:
    """It counts where it is whole."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(event(1)).rstrip())
    log = BindLog([str(path)])
    assert ([bind.port for bind in log.binds()], log.bad) == ([1], 0)


def test_several_files_and_compressed_ones(tmp_path: Path) -> None:
    """In the order given; one that was cut short in the middle is read as far as it goes."""
    plain, packed, cut = (tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.gz"))
    plain.write_bytes(lines(event(1)))
    packed.write_bytes(gzip.compress(lines(event(2), event(3))))
    cut.write_bytes(gzip.compress(lines(*(event(n) for n in range(1, 500))))[:-20])
    log = BindLog([str(plain), str(packed)])
    assert [bind.port for bind in log.binds()] == [1, 2, 3]
    half = BindLog([str(cut)])
    assert len(list(half.binds())) > 0
    assert half.bad == 0
    assert stored_bytes([str(plain), str(packed)]) == sum(
        path.stat().st_size for path in (plain, packed)
    )


def test_what_is_no_log_at_all(tmp_path: Path) -> None:
    """Many megabytes without an end of line cost neither memory nor a traceback; no file is an
    error of the user's."""
    path = tmp_path / "core"
    path.write_bytes(b"x" * (3 << 20) + b"\n" + lines(event(1)) + b"[" * 200_000 + b"\n")
    log = BindLog([str(path)])
    assert [bind.port for bind in log.binds()] == [1]
    assert log.bad == 2
    broken = tmp_path / "x.gz"
    broken.write_bytes(b"no gzip")
    refused = BindLog([str(broken)])
    assert (list(refused.binds()), refused.bad) == ([], 1)
    for missing in (str(tmp_path / "missing"), str(tmp_path), "a\0b"):
        with pytest.raises(UsageError):
            list(BindLog([missing]).binds())


def test_since(tmp_path: Path) -> None:
    """Only what is not older."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(event(1), event(2, time="2026-02-01T00:00:00.000000Z")))
    log = BindLog([str(path)], since="2026-01-31T23:59:59")
    assert [bind.port for bind in log.binds()] == [2]
