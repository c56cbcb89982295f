"""The agent from its start to its end: what it says, what it leaves, who takes over."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from product import PORTWATCH, children, eventually, violations
from sandbox import ATTACHED, Sandbox, denying


def test_builtin_policy_only_records(sandbox: Sandbox) -> None:
    """Without `--policy` the built-in policy starts, says so, and denies nothing."""
    agent = sandbox.agent(None)
    assert "builtin in force (record)" in agent.log
    binder = sandbox.binder()
    answers = [binder.bind(5005, "0.0.0.0") for _ in range(23)]
    assert answers == ["ok"] * 23
    assert agent.metric("portwatch_binds_total", verdict="recorded") == 23
    assert agent.metric("portwatch_binds_total") == 23
    assert agent.metric("portwatch_enforcing") == 0
    event = eventually(lambda: agent.violations(port=5005))[0]
    assert (event["verdict"], event["constraint"]) == ("recorded", "debuggers-on-loopback")
    assert "errno" not in event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_end_leaves_nothing(sandbox: Sandbox, number: int) -> None:
    """Ctrl-C and SIGTERM end the agent with status 0 and leave no pin, program, link or socket."""
    agent = sandbox.agent(sandbox.policy(denying(9000)))
    binder = sandbox.binder()
    assert binder.bind(9000) == "EACCES"
    programs = sandbox.program_ids()
    assert sandbox.attached() == list(ATTACHED)
    assert sandbox.socket.is_socket()
    assert agent.end(number) == 0
    assert "Traceback" not in agent.log
    sandbox.assert_nothing_left(programs)
    assert binder.bind(9000) == "ok"


def test_signal_right_after_the_ready_line(shared: Sandbox) -> None:
    """A signal is understood from the first moment that the agent says it is ready."""
    agent = shared.start(shared.policy(denying(9000)), "--keep")
    while "Ctrl-C ends it" not in agent.log:
        assert agent.process.poll() is None, agent.log
    assert agent.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_end_while_it_still_loads(sandbox: Sandbox, number: int) -> None:
    """A signal during the compilation ends the agent, its loader, and leaves nothing."""
    agent = sandbox.start(sandbox.policy(denying(9000)))
    loader = eventually(lambda: children(agent.pid))[0]
    time.sleep(0.3)
    agent.end(number)
    assert "Traceback" not in agent.log
    eventually(lambda: not os.path.exists(f"/proc/{loader}"), what="the loader has ended")
    sandbox.assert_nothing_left({})


def test_keep_leaves_enforcement(sandbox: Sandbox) -> None:
    """With `--keep` a stopped agent leaves enforcement as it is, and no socket."""
    agent = sandbox.agent(sandbox.policy(denying(9000)), "--keep")
    programs = sandbox.program_ids()
    assert agent.end() == 0
    assert sandbox.binder().bind(9000) == "EACCES"
    assert sandbox.program_ids() == programs
    assert not sandbox.socket.exists()
    assert sandbox.status()["binds"] == {"allowed": 0, "denied": 1, "recorded": 0}
    assert sandbox.run("unload").returncode == 0
    sandbox.assert_nothing_left(programs)


def test_killed_agent_and_its_successor(sandbox: Sandbox) -> None:
    """After kill -9 enforcement and counting go on; the next agent takes over the same programs,
    continues the counts, and tells what has happened meanwhile."""
    policy = sandbox.policy(denying("9000-9099"))
    first = sandbox.agent(policy)
    binder = sandbox.binder()
    assert [binder.bind(9000 + n) for n in range(10)] == ["EACCES"] * 10
    eventually(lambda: len(first.violations()) == 10)
    before, programs = sandbox.status(), sandbox.program_ids()
    first.end(signal.SIGKILL)

    assert [binder.bind(9050 + n) for n in range(7)] == ["EACCES"] * 7
    assert [binder.bind(8000 + n) for n in range(3)] == ["ok"] * 3
    orphaned = sandbox.status()
    assert orphaned["agent_pid"] is None
    assert orphaned["binds"] == {"allowed": 3, "denied": 17, "recorded": 0}
    assert orphaned["policy"]["sha256"] == before["policy"]["sha256"]
    assert orphaned["hooks"] == before["hooks"]

    second = sandbox.agent(policy)
    assert sandbox.program_ids() == programs, "taken over, not compiled anew"
    assert second.metric("portwatch_binds_total", verdict="denied") == 17
    told = eventually(lambda: len(second.violations()) == 7 and second.violations())
    assert [event["bind"]["port"] for event in told] == [9050 + n for n in range(7)]
    assert {event["process"]["pid"] for event in told} == {binder.pid}
    assert binder.bind(9000) == "EACCES"
    assert second.metric("portwatch_binds_total", verdict="denied") == 18
    assert second.metric("portwatch_events_lost_total") == 0


def test_second_agent_is_refused(shared: Sandbox) -> None:
    """A second agent on the same pins ends with status 2 and says why; the first goes on."""
    policy = shared.policy(denying(9000))
    first = shared.agent(policy, "--keep")
    done = shared.run("run", *shared.run_options(policy))
    assert done.returncode == 2
    assert f"another agent runs on {shared.pin_dir}" in done.stderr
    assert "hint:" in done.stderr
    assert shared.binder().bind(9000) == "EACCES"
    eventually(lambda: first.violations(port=9000))
    assert shared.status()["agent_pid"] == first.pid


def test_agent_never_maps_llvm(sandbox: Sandbox) -> None:
    """Also right after it has loaded the programs, no compiler is in the agent's memory."""
    agent = sandbox.agent(sandbox.policy(denying(9000)))
    mapped = Path(f"/proc/{agent.pid}/maps").read_text()
    assert "libbpf.so" in mapped
    for library in ("libLLVM", "libclang", "libbcc"):
        assert library not in mapped
    for pid in children(agent.pid):  # who lists what listens may still be there
        with suppress(FileNotFoundError, ProcessLookupError):
            assert b"kernel.loader" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_run_with_its_port_taken(sandbox: Sandbox) -> None:
    """Where the port of `--listen` is taken, `run` ends with status 2 and leaves nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for keep in ([], ["--keep"]):
            policy = sandbox.policy(denying(9000))
            options = sandbox.run_options(policy, "--listen", address, *keep)
            done = sandbox.run("run", *options)
            assert done.returncode == 2
            assert f"cannot serve on {address}: Address already in use" in done.stderr
            sandbox.assert_nothing_left({})


@pytest.mark.parametrize("wrong", ["listen", "events"])
def test_failed_start_keeps_what_it_found(shared: Sandbox, wrong: str) -> None:
    """A `run` that cannot start does not take down the enforcement that was there before."""
    policy = shared.policy(denying(9000))
    shared.load(policy)
    options = {"listen": ("--listen", "192.0.2.1:1"), "events": ("--events", "/proc/no/such")}
    done = shared.run("run", *shared.run_options(policy, *options[wrong]))
    assert done.returncode == 2
    assert "hint:" in done.stderr
    assert shared.attached() == list(ATTACHED)
    assert shared.binder().bind(9000) == "EACCES"


def test_crashed_agent_keeps_enforcement(sandbox: Sandbox) -> None:
    """Enforcement stays where the agent ends by an error of its own, as after kill -9."""
    agent = sandbox.agent(sandbox.policy(denying(9000)))
    os.kill(agent.pid, signal.SIGABRT)
    agent.wait()
    assert sandbox.binder().bind(9000) == "EACCES"
    assert sandbox.run("unload").returncode == 0
    assert not sandbox.socket.exists(), "unloaded without a trace"


def test_unload_under_a_running_agent(sandbox: Sandbox) -> None:
    """An agent whose pins are taken away says so and ends with status 4, which no other end has."""
    agent = sandbox.agent(sandbox.policy(denying(9000)))
    programs = sandbox.program_ids()
    assert sandbox.run("unload").returncode == 0
    assert agent.wait() == 4
    assert "was unloaded: nothing is enforced any more" in agent.log
    assert "Traceback" not in agent.log
    sandbox.assert_nothing_left(programs)


def test_unload_waits_for_the_agent(sandbox: Sandbox) -> None:
    """It ends when the agent has, so that whoever starts one next does not find it running."""
    agent = sandbox.agent(sandbox.policy(denying(9000)))
    os.kill(agent.pid, signal.SIGSTOP)
    command = [PORTWATCH, "unload", "--pin-dir", str(sandbox.pin_dir)]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as unload:
        eventually(lambda: not sandbox.pin_dir.exists())
        assert unload.poll() is None
        os.kill(agent.pid, signal.SIGCONT)
        _, said = unload.communicate()
    assert (unload.returncode, said) == (0, "")
    assert agent.wait(within=1) == 4


def test_detached_hook_is_noticed_and_mended(sandbox: Sandbox) -> None:
    """A link that somebody removed shows in /readyz, metrics and status, and the agent has it
    attached again by itself, with no count lost."""
    policy = sandbox.policy(denying(9000))
    agent = sandbox.agent(policy)
    assert sandbox.binder().bind(9000) == "EACCES"

    def hook_events() -> list[str]:
        return [one["result"] for one in agent.events if one.get("hook") == "bind4"]

    healing_waits = os.open(sandbox.pin_dir, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(healing_waits, fcntl.LOCK_EX)
    (sandbox.pin_dir / "links" / "bind4").unlink()
    binder = sandbox.binder()
    assert binder.bind(9000) == "ok"
    assert agent.metric("portwatch_hook_attached", hook="bind4") == 0
    assert agent.metric("portwatch_hook_attached", hook="bind6") == 1
    assert agent.metric("portwatch_enforcing") == 0
    with pytest.raises(urllib.error.HTTPError) as unready:
        agent.page("/readyz")
    assert unready.value.code == 503
    assert unready.value.read() == b"not attached: bind4\n"
    unready.value.close()
    facts = sandbox.status()
    assert facts["hooks"]["bind4"] is False
    assert facts["enforcing"] is False
    assert "bind4 GONE" in sandbox.run("status").stdout
    assert sandbox.run("doctor").returncode == 3
    os.close(healing_waits)
    eventually(lambda: agent.metric("portwatch_enforcing") == 1, 60, "healed")
    assert binder.bind(9000) == "EACCES"
    assert agent.page("/readyz")[0] == b"ready\n"
    assert agent.metric("portwatch_hook_reattached_total", hook="bind4") == 1
    assert agent.metric("portwatch_hook_reattached_total") == 1
    assert agent.metric("portwatch_binds_total", verdict="denied") == 2
    eventually(lambda: hook_events() == ["gone", "restored"], 10, "both are told")


def test_stalled_reader_of_stdout(shared: Sandbox) -> None:
    """A reader of stdout that stalls holds up neither the policy's following nor the end."""
    read_end, write_end = os.pipe()
    policy = shared.policy(denying("20000-20999"))
    agent = shared.start(policy, "--keep", stdout=write_end).wait_until_ready()
    os.close(write_end)
    binder = shared.binder()
    assert {binder.bind(20000 + n) for n in range(1000)} == {"EACCES"}
    shared.policy(denying(9001))
    eventually(lambda: binder.bind(9001) == "EACCES", what="the new policy is in force")
    assert agent.end() == 0
    os.close(read_end)


def test_reader_of_stdout_that_catches_up(sandbox: Sandbox) -> None:
    """A reader of stdout that stalled learns exactly how much it missed."""
    read_end, write_end = os.pipe()
    policy = sandbox.policy(denying("20000-39999"))
    agent = sandbox.start(policy, stdout=write_end).wait_until_ready()
    os.close(write_end)
    binder = sandbox.binder()

    def all_told(count: int) -> bool:
        return agent.metric("portwatch_events_total", kind="violation") >= count

    for done in range(0, 18000, 2000):  # in steps that fit the ring, however busy the agent is
        assert {binder.bind(20000 + done + n) for n in range(2000)} == {"EACCES"}
        eventually(partial(all_told, done + 2000), 30)
    assert agent.metric("portwatch_events_lost_total") == 0
    lines: list[bytes] = []
    with os.fdopen(read_end, "rb") as reader:
        thread = threading.Thread(target=lambda: lines.extend(reader))
        thread.start()
        time.sleep(1)
        assert binder.bind(39999) == "EACCES"
        assert agent.end() == 0
        thread.join(5)
    events = [json.loads(line) for line in lines]
    missed = [event["count"] for event in events if event["kind"] == "lost"]
    seen = violations(events, sandbox.path)
    assert len(missed) == 1
    assert missed[0] > 100
    assert seen[-1]["bind"]["port"] == 39999
    assert len(seen) + missed[0] == 18001


def test_run_into_head(sandbox: Sandbox) -> None:
    """`portwatch run | head -1` ends by itself, without a traceback, and leaves nothing."""
    policy = sandbox.policy(denying("9000-9009"))
    with (sandbox.folder / "log").open("w+") as log:
        agent = subprocess.Popen(
            [PORTWATCH, "run", *map(str, sandbox.run_options(policy))],
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert agent.stdout
        assert b'"kind":"policy"' in agent.stdout.readline()
        agent.stdout.close()
        binder = sandbox.binder()
        try:
            eventually(lambda: binder.bind(9000 + time.monotonic_ns() % 10) and agent.poll() == 0)
        finally:
            agent.kill()
            agent.wait()
        log.seek(0)
        assert "Traceback" not in log.read()
    sandbox.assert_nothing_left({})
