"""What listens: the `listeners` command, and what the agent tells and counts of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from product import AgentProcess, Done, eventually, portwatch
from sandbox import Sandbox, denying

BUSY_PORT, QUIET_PORT = 9000, 9001
SURVEY_SECONDS = 20


def listen(sandbox: Sandbox, *ports: int, protocol: str = "tcp") -> int:
    """A process at home, in a network of its own, that has these ports: its pid."""
    binder = sandbox.binder()
    for port in ports:
        steps: list[tuple[Any, ...]] = [("socket", protocol, "ipv4"), ("bind", "127.0.0.1", port)]
        steps += [("listen",)] if protocol == "tcp" else []
        assert binder.take(*steps, name=str(port)).said == "ok"
    return binder.pid


def told(agent: AgentProcess, port: int) -> list[dict[str, Any]]:
    """The `listener` events of a port."""
    return [
        event
        for event in agent.events
        if event["kind"] == "listener" and event["bind"]["port"] == port
    ]


def surveyed(agent: AgentProcess) -> float:
    """When the agent has last looked at what listens."""
    return agent.metric("portwatch_listeners_last_survey_timestamp_seconds")


def soon(agent: AgentProcess, probe: Callable[[], Any]) -> Any:
    """What the probe finds once the agent's child has looked, which busy machines delay."""
    try:
        return eventually(probe, SURVEY_SECONDS)
    except AssertionError as err:
        raise AssertionError(f"{err}\n{agent.log}\n{agent.events}") from err


def listed(sandbox: Sandbox, *options: object) -> tuple[list[dict[str, Any]], Done]:
    """`portwatch listeners --json`: those at home, and how it ended."""
    done = sandbox.run("listeners", "--json", *options)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return [one for one in found if one["workload"]["cgroup"].startswith(sandbox.path)], done


@pytest.fixture
def ground(shared: Sandbox) -> Sandbox:
    """The shared pins with a policy that says nothing of home: sockets listen there at first."""
    shared.load(shared.policy(denying(9, who="/nobody"), "nobody.yaml"))
    return shared


def test_a_socket_that_listened_before_is_told_once(ground: Sandbox) -> None:
    """A listener against the policy is an event, with whose it is and since when; only one, until
    the policy changes to another that it violates."""
    pid = listen(ground, BUSY_PORT, QUIET_PORT)
    policy = ground.policy(denying(BUSY_PORT, who=ground.path))
    agent = ground.agent(policy, "--keep")
    (event,) = soon(agent, lambda: told(agent, BUSY_PORT))
    assert (event["verdict"], event["constraint"], event["errno"]) == (
        "denied",
        "no-such-port",
        "EACCES",
    )
    assert event["reason"] == "not here"
    assert event["bind"] == {
        "protocol": "tcp",
        "family": "ipv4",
        "address": "127.0.0.1",
        "port": BUSY_PORT,
        "network": f"net:[{os.stat(f'/proc/{pid}/ns/net').st_ino}]",
    }
    assert event["workload"] == {"name": ground.path, "cgroup": ground.path}
    assert event["process"]["pid"] == pid
    assert {"comm", "exe", "cmdline", "uid", "gid"} <= event["process"].keys()
    assert event["since"].endswith("Z")
    assert event["count"] == 1

    agent.process.send_signal(signal.SIGHUP)  # the same policy again: surveyed, and not told
    before = surveyed(agent)
    soon(agent, lambda: surveyed(agent) > before)
    assert len(told(agent, BUSY_PORT)) == 1

    ground.policy(denying(BUSY_PORT, QUIET_PORT, who=ground.path))
    soon(agent, lambda: len(told(agent, BUSY_PORT)) == 2 and told(agent, QUIET_PORT))
    assert agent.metric("portwatch_events_total", kind="listener") == 3


def test_a_policy_applied_by_another_process_is_surveyed_too(ground: Sandbox) -> None:
    """`portwatch apply` beside a running agent: what violates the new policy is told."""
    listen(ground, QUIET_PORT)
    agent = ground.agent(ground.policy(denying(BUSY_PORT, who=ground.path)), "--keep")
    other = ground.policy(denying(QUIET_PORT, who=ground.path, mode="record"), "other.yaml")
    assert ground.run("apply", other).returncode == 0
    (event,) = soon(agent, lambda: told(agent, QUIET_PORT))
    assert event["verdict"] == "recorded"
    assert "errno" not in event


def test_listeners_are_counted_by_verdict(ground: Sandbox) -> None:
    """portwatch_listeners has what listens below the cgroup, and nothing that does not."""
    listen(ground, BUSY_PORT, QUIET_PORT)
    listen(ground, 9002, protocol="udp")
    agent = ground.agent(ground.policy(denying(BUSY_PORT, who=ground.path)), "--keep")
    soon(agent, lambda: surveyed(agent))
    home = {"workload": ground.path, "scope": "loopback"}

    def count(**labels: str) -> float:
        return agent.metric("portwatch_listeners", **home, **labels)

    assert count(protocol="tcp", port=str(BUSY_PORT), verdict="denied") == 1
    assert count(protocol="tcp", port=str(QUIET_PORT), verdict="allowed") == 1
    assert count(protocol="udp", port="9002", verdict="allowed") == 1
    assert count() == 3
    assert agent.metric("portwatch_listeners", workload="/") == 0


def test_the_agents_child_ends_with_it(ground: Sandbox) -> None:
    """An agent that is told to end in the middle of a survey leaves no process behind."""
    agent = ground.agent(ground.policy(denying(BUSY_PORT, who=ground.path)), "--keep")
    for _ in range(3):
        agent.process.send_signal(signal.SIGHUP)
    assert agent.end() == 0
    assert "Traceback" not in agent.log


def test_the_command_lists_as_json(ground: Sandbox) -> None:
    """One list, each with the keys of a `listener` event, violations first; exit status 1."""
    pid = listen(ground, QUIET_PORT, BUSY_PORT)
    ground.load(ground.policy(denying(BUSY_PORT, who=ground.path)))
    found, done = listed(ground)
    assert done.returncode == 1
    assert [one["bind"]["port"] for one in found] == [BUSY_PORT, QUIET_PORT]
    assert [one["verdict"] for one in found] == ["denied", "allowed"]
    assert all(one["process"]["pid"] == pid and one["scope"] == "loopback" for one in found)
    found, done = listed(ground, "--port", QUIET_PORT)
    assert (len(found), done.returncode) == (1, 0)
    found, done = listed(ground, "--workload", f"{ground.path}*", "--port", BUSY_PORT)
    assert (len(found), done.returncode) == (1, 1)
    found, done = listed(ground, "--workload", "nobody")
    assert (found, done.returncode) == ([], 0)


def test_the_command_shows_a_table(ground: Sandbox) -> None:
    """A line for each socket with whose it is and the violated constraint, and a summary."""
    pid = listen(ground, BUSY_PORT, QUIET_PORT)
    policy = ground.policy(denying(BUSY_PORT, who=ground.path, mode="record"))
    done = ground.run("listeners", "--policy", policy, "--workload", ground.path)
    assert done.returncode == 1
    heading, first, second, summary = done.stdout.splitlines()
    assert heading.split() == [
        "PROTO", "ADDRESS:PORT", "SCOPE", "WORKLOAD", "PROCESS", "NETWORK", "SINCE", "VERDICT",
    ]  # fmt: skip
    assert first.split()[:5] == [
        "tcp", f"127.0.0.1:{BUSY_PORT}", "loopback", ground.path, f"python3[{pid}]",
    ] or f"[{pid}]" in first  # fmt: skip
    assert first.endswith("recorded by no-such-port")
    assert second.endswith("allowed")
    assert summary == "2 sockets in 1 network namespace: 1 recorded · 1 allowed"


def test_without_a_policy_the_command_says_so(sandbox: Sandbox) -> None:
    """Nothing in force: what listens is listed all the same, without verdicts, and a hint."""
    listen(sandbox, BUSY_PORT)
    done = sandbox.run("listeners", "--workload", sandbox.path)
    assert done.returncode == 0
    assert "VERDICT" not in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"no policy is in force at {sandbox.pin_dir}: --policy PATH judges by one"
    )
    found, done = listed(sandbox)
    assert done.returncode == 0
    assert [one.get("verdict") for one in found] == [None]
    done = sandbox.run("listeners", "--workload", "nobody")
    assert "nothing listens" in done.stdout


def test_a_shared_socket_shows_how_many_have_it(ground: Sandbox) -> None:
    """A pre-forked server is its oldest process, and so many more."""
    binder = ground.binder()
    steps = ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", BUSY_PORT), ("listen",)
    assert binder.take(*steps, name="shared").said == "ok"
    binder.spawn("fork")
    binder.spawn("fork")
    done = ground.run("listeners", "--workload", ground.path)
    assert f"[{binder.pid}] +2" in done.stdout
    found, _ = listed(ground)
    assert [one["more_processes"] for one in found] == [2]


def test_another_namespace_and_udp_are_warned_of(ground: Sandbox) -> None:
    """Before it enforces, `load` warns of sockets in every network namespace, of udp too."""
    pid = listen(ground, BUSY_PORT, protocol="udp")
    loaded = ground.load(ground.policy(denying(f"{BUSY_PORT}/udp", who=ground.path)))
    assert "warning: 1 socket listening now would be refused at the next bind" in loaded.stderr
    assert f"udp 127.0.0.1:{BUSY_PORT} of " in loaded.stderr
    assert f"[{pid}]: no-such-port (EACCES)" in loaded.stderr


def test_a_bad_policy_is_told_as_ever() -> None:
    """Exit status 2, and no traceback."""
    done = portwatch("listeners", "--policy", "/nowhere.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
