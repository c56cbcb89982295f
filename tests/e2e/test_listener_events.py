"""What listens: the `listeners` command, and what the agent tells and counts of it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from product import AgentProcess, Done, eventually, portwatch
from sandbox import Sandbox, denying

BUSY_PORT, QUIET_PORT = 9000, 9001


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


def listed(sandbox: Sandbox, *options: object) -> tuple[list[dict[str, Any]], Done]:
    """`portwatch listeners --json`: those at home, and how it ended."""
    done = sandbox.run("listeners", "--json", *options)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return [one for one in found if one["workload"]["cgroup"].startswith(sandbox.path)], done


def test_a_socket_that_listened_before_is_told_once(shared: Sandbox) -> None:
    """A listener against the policy is an event, with whose it is and since when; only one, until
    the policy changes to another that it violates."""
    pid = listen(shared, BUSY_PORT, QUIET_PORT)
    policy = shared.policy(denying(BUSY_PORT, who=shared.path))
    agent = shared.agent(policy, "--keep")
    (event,) = eventually(lambda: told(agent, BUSY_PORT), 10)
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
    assert event["workload"] == {"name": shared.path, "cgroup": shared.path}
    assert event["process"]["pid"] == pid
    assert {"comm", "exe", "cmdline", "uid", "gid"} <= event["process"].keys()
    assert event["since"].endswith("Z")
    assert event["count"] == 1

    agent.process.send_signal(signal.SIGHUP)  # the same policy again: surveyed, and not told
    surveyed = agent.metric("portwatch_listeners_last_survey_timestamp_seconds")
    eventually(
        lambda: agent.metric("portwatch_listeners_last_survey_timestamp_seconds") > surveyed, 10
    )
    assert len(told(agent, BUSY_PORT)) == 1

    shared.policy(denying(BUSY_PORT, QUIET_PORT, who=shared.path))
    eventually(lambda: len(told(agent, BUSY_PORT)) == 2 and told(agent, QUIET_PORT), 10)
    assert agent.metric("portwatch_events_total", kind="listener") == 3


def test_a_policy_applied_by_another_process_is_surveyed_too(shared: Sandbox) -> None:
    """`portwatch apply` beside a running agent: what violates the new policy is told."""
    listen(shared, QUIET_PORT)
    agent = shared.agent(shared.policy(denying(BUSY_PORT, who=shared.path)), "--keep")
    other = shared.policy(denying(QUIET_PORT, who=shared.path, mode="record"), "other.yaml")
    assert shared.run("apply", other).returncode == 0
    (event,) = eventually(lambda: told(agent, QUIET_PORT), 10)
    assert event["verdict"] == "recorded"
    assert "errno" not in event


def test_listeners_are_counted_by_verdict(shared: Sandbox) -> None:
    """portwatch_listeners has what listens below the cgroup, and nothing that does not."""
    listen(shared, BUSY_PORT, QUIET_PORT)
    listen(shared, 9002, protocol="udp")
    agent = shared.agent(shared.policy(denying(BUSY_PORT, who=shared.path)), "--keep")
    eventually(lambda: agent.metric("portwatch_listeners_last_survey_timestamp_seconds"), 10)
    home = {"workload": shared.path, "scope": "loopback"}

    def count(**labels: str) -> float:
        return agent.metric("portwatch_listeners", **home, **labels)

    assert count(protocol="tcp", port=str(BUSY_PORT), verdict="denied") == 1
    assert count(protocol="tcp", port=str(QUIET_PORT), verdict="allowed") == 1
    assert count(protocol="udp", port="9002", verdict="allowed") == 1
    assert count() == 3
    assert agent.metric("portwatch_listeners", workload="/") == 0


def test_the_agents_child_ends_with_it(shared: Sandbox) -> None:
    """An agent that is told to end in the middle of a survey leaves no process behind."""
    agent = shared.agent(shared.policy(denying(BUSY_PORT, who=shared.path)), "--keep")
    for _ in range(3):
        agent.process.send_signal(signal.SIGHUP)
    assert agent.end() == 0
    assert "Traceback" not in agent.log


def test_the_command_lists_as_json(shared: Sandbox) -> None:
    """One list, each with the keys of a `listener` event, violations first; exit status 1."""
    pid = listen(shared, QUIET_PORT, BUSY_PORT)
    shared.load(shared.policy(denying(BUSY_PORT, who=shared.path)))
    found, done = listed(shared)
    assert done.returncode == 1
    assert [one["bind"]["port"] for one in found] == [BUSY_PORT, QUIET_PORT]
    assert [one["verdict"] for one in found] == ["denied", "allowed"]
    assert all(one["process"]["pid"] == pid and one["scope"] == "loopback" for one in found)
    found, done = listed(shared, "--port", QUIET_PORT)
    assert (len(found), done.returncode) == (1, 0)
    found, done = listed(shared, "--workload", f"{shared.path}*", "--port", BUSY_PORT)
    assert (len(found), done.returncode) == (1, 1)
    found, done = listed(shared, "--workload", "nobody")
    assert (found, done.returncode) == ([], 0)


def test_the_command_shows_a_table(shared: Sandbox) -> None:
    """A line for each socket with whose it is and the violated constraint, and a summary."""
    pid = listen(shared, BUSY_PORT, QUIET_PORT)
    policy = shared.policy(denying(BUSY_PORT, who=shared.path, mode="record"))
    done = shared.run("listeners", "--policy", policy, "--workload", shared.path)
    assert done.returncode == 1
    heading, first, second, summary = done.stdout.splitlines()
    assert heading.split() == [
        "PROTO", "ADDRESS:PORT", "SCOPE", "WORKLOAD", "PROCESS", "NETWORK", "SINCE", "VERDICT",
    ]  # fmt: skip
    assert first.split()[:5] == [
        "tcp", f"127.0.0.1:{BUSY_PORT}", "loopback", shared.path, f"python3[{pid}]",
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


def test_a_shared_socket_shows_how_many_have_it(shared: Sandbox) -> None:
    """A pre-forked server is its oldest process, and so many more."""
    binder = shared.binder()
    steps = ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", BUSY_PORT), ("listen",)
    assert binder.take(*steps, name="shared").said == "ok"
    binder.spawn("fork")
    binder.spawn("fork")
    done = shared.run("listeners", "--workload", shared.path)
    assert f"[{binder.pid}] +2" in done.stdout
    found, _ = listed(shared)
    assert [one["more_processes"] for one in found] == [2]


def test_another_namespace_and_udp_are_warned_of(shared: Sandbox) -> None:
    """Before it enforces, `load` warns of sockets in every network namespace, of udp too."""
    pid = listen(shared, BUSY_PORT, protocol="udp")
    loaded = shared.load(shared.policy(denying(f"{BUSY_PORT}/udp", who=shared.path)))
    assert "warning: 1 socket listening now would be refused at the next bind" in loaded.stderr
    assert f"udp 127.0.0.1:{BUSY_PORT} of " in loaded.stderr
    assert f"[{pid}]: no-such-port (EACCES)" in loaded.stderr


def test_a_bad_policy_is_told_as_ever() -> None:
    """Exit status 2, and no traceback."""
    done = portwatch("listeners", "--policy", "/nowhere.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
