"""From what was seen to a policy that is enforced: run --log-binds, learn, check, replay, apply."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from binder import Bind
from product import eventually, portwatch
from sandbox import Sandbox, denying

SEEN = (
    Bind(21080),
    Bind(21081, "0.0.0.0"),
    Bind(21082, "::1", uid=1234),
    Bind(0, "0.0.0.0", listen=True),
    Bind(5353, "0.0.0.0", protocol="udp"),
)
UNSEEN = (Bind(21079), Bind(21080, "0.0.0.0"), Bind(21081, protocol="udp"), Bind(5353))


@contextmanager
def logged(sandbox: Sandbox) -> Iterator[Path]:
    """An event log of SEEN by a workload at home, and of one denied bind."""
    log = sandbox.folder / "events.jsonl"
    policy = sandbox.policy(denying(9001, who=sandbox.path))
    agent = sandbox.agent(policy, "--keep", "--log-binds", "--events", log)
    binder = sandbox.binder()
    said = [answer.said for answer in binder.answers([*SEEN, Bind(9001)])]
    assert said == ["ok"] * len(SEEN) + ["EACCES"]
    eventually(lambda: '"port":9001' in log.read_text())
    yield log
    agent.end()


def learned(sandbox: Sandbox, *options: object) -> str:
    """The policy that is learned of the home."""
    name = sandbox.path
    done = sandbox.run("learn", "--slack", 1, "--workload", name, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_a_log_to_an_enforced_policy(shared: Sandbox) -> None:
    """What was seen goes through, everything else of that workload does not; check and replay
    find nothing."""
    with logged(shared) as log:
        text = learned(shared, "--events", log)
        policy = shared.policy(text, "learned.yaml")
        for where in ((), ("--offline",)):
            checked = portwatch("check", policy, "--strict", *where)
            assert checked.returncode == 0, checked.stdout
        replayed = portwatch("replay", policy, log, "--json")
        mine = [
            kind
            for kind in json.loads(replayed.stdout)["kinds"]
            if kind["workload"] == shared.path and kind["then"]["verdict"] == "allowed"
        ]
        assert {kind["now"]["verdict"] for kind in mine} == {"allowed"}
        assert {kind["bind"]["port"] for kind in mine} == {
            *("21080", "21081", "21082", "5353", "ephemeral")
        }
    enforced = shared.policy(text.replace("mode: record", "mode: enforce"), "enforced.yaml")
    assert shared.run("apply", enforced).returncode == 0
    binder = shared.binder()
    assert {answer.said for answer in binder.answers(SEEN)} == {"ok"}
    assert {answer.said for answer in binder.answers(UNSEEN)} == {"EACCES"}


def test_from_the_kernel_and_from_what_listens(shared: Sandbox) -> None:
    """Without a log the kernel's own memory tells the same; what it refused is not learned."""
    binder = shared.binder()
    shared.load(shared.policy(denying(9001, who=shared.path)))
    assert [binder.bind(port, hold=port == 21083) for port in (21080, 9001, 21083)] == [
        *("ok", "EACCES", "ok")
    ]
    text = learned(shared)
    assert "21080/tcp # 1 bind by /" in text
    assert "21083/tcp # 1 bind and listens now by /" in text
    assert "9001" not in text
    facts = json.loads(learned(shared, "--json"))
    (constraint,) = facts["constraints"]
    assert constraint["for"] == {"cgroup": shared.path}
    assert [entry["ports"] for entry in constraint["allow"]] == ["21080/tcp", "21083/tcp"]
    assert facts["policy"] == text


def test_what_was_odd_and_seen_is_accepted(shared: Sandbox) -> None:
    """Two that share a port, etcd's with something else, a number that the kernel picks from: the
    policy says so, `check` has no finding, and `replay` denies nothing."""
    log = shared.folder / "events.jsonl"
    agent = shared.agent(shared.policy("version: 1\n"), "--keep", "--log-binds", "--events", log)
    home = shared.path[1:].replace("/", "-")
    seen = {
        "blue": (Bind(21080), Bind(2379)),
        "green": (Bind(21080, "0.0.0.0"), Bind(40123, "0.0.0.0")),
        "job-1": (Bind(21090), Bind(0)),
        "job-2": (Bind(21090), Bind(0)),
    }
    for name, binds in seen.items():
        answers = shared.binder(shared.make(name)).answers(binds)
        assert [answer.said for answer in answers] == ["ok"] * len(binds)
    eventually(lambda: log.read_text().count('"kind":"bind"') == 8)
    agent.end()
    done = shared.run("learn", "--workload", f"{shared.path}/*", "--events", log)
    text = done.stdout
    assert [line.partition("#")[0].split() for line in text.splitlines() if "- name" in line] == [
        ["-", "name:", f"{home}-{name}"] for name in ("blue", "green", "job")
    ]
    told = [
        line.strip(" -") for line in text.splitlines() if "-overlap" in line or "shared-" in line
    ]
    assert told == [
        f"shared-ports    # 21080/tcp with {home}-green",
        "catalog-overlap # 2379/tcp of catalog:etcd",
        f"shared-ports    # 21080/tcp with {home}-blue",
    ]
    assert "- ephemeral-range # 40123, of which the kernel picks" in text
    policy = shared.policy(text.replace("mode: record", "mode: enforce"), "learned.yaml")
    checked = portwatch("check", policy, "--strict")
    assert (checked.returncode, checked.stdout.count("[")) == (0, 0), checked.stdout
    assert checked.stdout.endswith("mode enforce; 4 accepted\n")
    assert portwatch("check", policy, "--accepted", "--offline").stdout.count("accepted: ") == 3
    replayed = json.loads(portwatch("replay", policy, log, "--json").stdout)
    assert {kind["now"]["verdict"] for kind in replayed["kinds"]} == {"allowed"}


def test_since(shared: Sandbox) -> None:
    """Only what was bound after that moment."""
    binder = shared.binder()
    binder.bind(21080)
    done = shared.run("learn", "--workload", shared.path, "--since", "2999-01-01")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no binds were seen" in done.stderr
    assert "21080" in learned(shared, "--since", "1h")


def test_merge_extends_a_file_in_place(shared: Sandbox) -> None:
    """Comments, mode and owner stay; --dry-run shows it and writes nothing; a second time there is
    nothing to add."""
    binder = shared.binder()
    binder.answers([Bind(21080)])
    before = "# ours\nmode: enforce  # now\nconstraints:\n- {name: a, deny: [23]} # telnet"
    policy = shared.policy(before, "ours.yaml")
    policy.chmod(0o640)
    os.chown(policy, 1234, 4321)
    options = ("--workload", shared.path, "--merge", policy)
    dry = shared.run("learn", *options, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "+    - 21080/tcp" in dry.stdout
    assert policy.read_text() == before
    done = shared.run("learn", *options)
    assert done.returncode == 0, done.stderr
    assert "has got 1 new constraint" in done.stderr
    assert policy.read_text().startswith(before + "\n- name:")
    status = policy.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 1234, 4321)
    assert "lacks nothing" in shared.run("learn", *options).stderr
    assert sorted(path.name for path in shared.folder.iterdir() if "ours" in path.name) == [
        "ours.yaml"
    ]


def test_mistakes(tmp_path: Path) -> None:
    """Each is said in a sentence, with the exit status of a user's mistake."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    missing = tmp_path / "missing.jsonl"
    for arguments in (
        ("learn", "--events", missing),
        ("learn", "--since", "yesterday"),
        ("learn", "--slack", "0"),
        ("learn", "--dry-run"),
        ("replay", policy, missing),
        ("replay", policy),
        ("replay", missing, policy),
    ):
        done = portwatch(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
        assert done.stderr


@pytest.mark.parametrize("command", ["replay", "learn"])
def test_a_log_with_nothing_in_it(command: str, tmp_path: Path) -> None:
    """Nothing to replay is fine; nothing to learn from is told by the exit status."""
    log, policy = tmp_path / "events.jsonl", tmp_path / "policy.yaml"
    log.write_text('{"kind":"lost","count":1}\n{"kind":"bi')
    policy.write_text("version: 1\n")
    given = ("replay", policy, log) if command == "replay" else ("learn", "--events", log)
    done = portwatch(*given)
    assert done.returncode == (0 if command == "replay" else 1)
    assert "no binds" in done.stdout + done.stderr


def test_replay_says_what_would_change(tmp_path: Path) -> None:
    """From stdin too; exit status 1 where something would be denied, 0 where nothing would."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("mode: enforce\nconstraints: [{name: web, allow: [8080], deny: [23]}]\n")
    bind = {"protocol": "tcp", "address": "0.0.0.0", "port": 8080, "requested_port": 8080}
    event = {
        **{"time": "2026-01-02T03:04:05.000000Z", "kind": "bind", "verdict": "allowed"},
        **{"bind": bind, "workload": {"name": "a", "cgroup": "/a"}, "count": 2},
        "process": {"pid": 1, "comm": "a", "uid": 0, "gid": 0},
    }
    fine = json.dumps(event) + "\n"
    telnet = json.dumps(event | {"bind": bind | {"port": 23, "requested_port": 23}}) + "\n"
    done = portwatch("replay", policy, "-", stdin=None, input=fine + "x\n" + telnet)
    assert done.returncode == 1
    first = done.stdout.splitlines()[1].split()
    assert first == ["allowed", "denied", "web", "tcp", "23", "wildcard", "a", "2"]
    assert "4 binds: 2 denied · 2 allowed; 2 allowed → denied" in done.stdout
    assert "-:2: not JSON" in done.stderr
    assert portwatch("replay", policy, "-", stdin=None, input=fine).returncode == 0
