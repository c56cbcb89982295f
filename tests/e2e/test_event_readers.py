"""Who reads the running agent's events: any number, any speed, coming and going."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from product import PORTWATCH, eventually, run_command, violations
from sandbox import Sandbox, denying


def test_events_command(shared: Sandbox) -> None:
    """`events` prints what the agent remembers, as JSON, and ends; without an agent it says so."""
    policy = shared.policy(denying("9001-9009"))
    agent = shared.agent(policy, "--keep")
    binder = shared.binder()
    assert {binder.bind(9001 + n) for n in range(5)} == {"EACCES"}
    eventually(lambda: len(agent.violations()) == 5)
    for options in ([], ["--json"]):
        done = shared.run("events", *options)
        assert done.returncode == 0
        assert [json.loads(line) for line in done.stdout.splitlines()] == agent.events
    agent.end()
    done = shared.run("events")
    assert done.returncode == 3
    assert f"no agent runs on {shared.pin_dir}" in done.stderr


def test_events_into_head(shared: Sandbox) -> None:
    """`events | head -1` ends without a traceback."""
    agent = shared.agent(shared.policy(denying("20000-20999")), "--keep")
    binder = shared.binder()
    assert {binder.bind(20000 + n) for n in range(1000)} == {"EACCES"}
    eventually(lambda: len(agent.violations()) == 1000)
    done = run_command(["sh", "-c", f"{PORTWATCH} events --pin-dir {shared.pin_dir} | head -1"])
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_several_followers(shared: Sandbox) -> None:
    """Any number of `events -f` see every new event in order, learn of the agent's end, and go on
    with the next one."""
    agent = shared.agent(shared.policy(denying("9001-9099")), "--keep")
    command = [PORTWATCH, "events", "-f", "--pin-dir", str(shared.pin_dir)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    try:
        for reader in readers:
            assert json.loads(reader.stdout.readline())["kind"] == "policy"
        binder = shared.binder()
        assert {binder.bind(9001 + n) for n in range(50)} == {"EACCES"}
        for reader in readers:
            lines = iter(reader.stdout.readline, "")
            found = (e for line in lines for e in violations([json.loads(line)], shared.path))
            assert [next(found)["bind"]["port"] for _ in range(50)] == list(range(9001, 9051))
        assert agent.end() == 0
        for reader in readers:
            assert "the agent has ended; waiting for the next" in reader.stderr.readline()
        shared.agent(shared.policy(denying("9001-9099")), "--keep")
        assert binder.bind(9077) == "EACCES"
        for reader in readers:
            assert json.loads(reader.stdout.readline())["kind"] == "policy"
            assert json.loads(reader.stdout.readline())["bind"]["port"] == 9077
            reader.send_signal(signal.SIGINT)
            assert reader.wait(5) == 130
            assert reader.stderr.read().strip() == ""
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def test_past_and_filters(shared: Sandbox) -> None:
    """`events` prints what is remembered and ends there, however busy the agent is; `-n` begins
    late, and each filter leaves out what it is not about."""
    agent = shared.agent(shared.policy(denying("9001-9099")), "--keep")
    binder = shared.binder()
    below = shared.make("below")
    other = shared.binder(below)
    assert {binder.bind(9001 + n) for n in range(5)} == {"EACCES"}
    assert other.bind(9001) == "EACCES"
    eventually(lambda: len(agent.violations()) == 6)

    def ports(*options: object) -> list[int]:
        done = shared.run("events", *options)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [event.get("bind", {}).get("port") for event in events]

    assert ports("-n", 2) == [9005, 9001]
    assert ports("-n", 0) == []
    assert ports("--port", 9001) == [9001, 9001]
    assert ports("--workload", "*/below") == [9001]
    assert ports("--constraint", "no-such-port", "-n", 100) == [9001, 9002, 9003, 9004, 9005, 9001]
    assert ports("--constraint", "other") == []
    assert ports("--kind", "policy", "--kind", "collision") == [None]
    assert ports("--since", "1h", "--port", 9003) == [9003]
    assert ports("--since", "2100-01-01") == []
    assert shared.run("events", "--kind", "violations").returncode == 2


def test_eight_readers_one_of_them_stopped(sandbox: Sandbox) -> None:
    """While one `events -f` is stopped, the others get all of 20,000 events in order; the agent's
    memory stays bounded; and the one that goes on learns exactly how many it missed."""
    agent = sandbox.agent(sandbox.policy(denying("20000-39999")))
    command = [PORTWATCH, "events", "-f", "-n", "0"]
    command += ["--pin-dir", str(sandbox.pin_dir)]
    files = [sandbox.folder / f"reader-{n}" for n in range(8)]
    readers = []
    try:
        for path in files:
            with path.open("wb") as file:
                readers.append(subprocess.Popen(command, stdout=file))
        eventually(lambda: len(_connections(sandbox)) == 8, within=20)
        readers[0].send_signal(signal.SIGSTOP)
        binder = sandbox.binder()
        before = _resident_kib(agent.pid)
        for start in range(20000, 40000, 500):
            assert {binder.bind(start + n) for n in range(500)} == {"EACCES"}
            for path in files[1:]:  # they keep up, however busy this machine is
                so_far = start + 500 - 20000
                eventually(lambda p=path, n=so_far: p.read_bytes().count(b"\n") == n, within=30)

        def ports(path: Path) -> list[int]:
            events = [json.loads(line) for line in path.read_text().splitlines(keepends=False)]
            return [event["bind"]["port"] for event in violations(events, sandbox.path)]

        for path in files[1:]:
            assert ports(path) == list(range(20000, 40000))
        assert agent.metric("portwatch_events_lost_total") == 0
        assert _resident_kib(agent.pid) - before < 10 * 1024
        readers[0].send_signal(signal.SIGCONT)
        eventually(lambda: b'"lost"' in files[0].read_bytes(), within=20)
        missed = [json.loads(line) for line in files[0].read_text().splitlines() if "lost" in line]
        seen = ports(files[0])
        assert sum(event["count"] for event in missed) + len(seen) == 20000
        assert seen == list(range(20000, 20000 + len(seen)))
    finally:
        for reader in readers:
            reader.send_signal(signal.SIGCONT)
            reader.kill()
            reader.wait()


def _connections(sandbox: Sandbox) -> list[str]:
    """Of readers that the agent has accepted."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line for line in lines if line.endswith(str(sandbox.socket)) and " 0001 03 " in line]


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


def test_slow_reader_is_told_what_it_missed(sandbox: Sandbox) -> None:
    """A reader that stops reading holds up nobody, and later learns exactly how much it missed."""
    agent = sandbox.agent(sandbox.policy(denying("20000-29999")))
    slow = socket.socket(socket.AF_UNIX)
    slow.connect(str(sandbox.socket))
    binder = sandbox.binder()
    for done in range(0, 8000, 1000):  # in steps that fit the ring, however busy the agent is
        assert {binder.bind(20000 + done + n) for n in range(1000)} == {"EACCES"}
        eventually(lambda done=done: len(agent.violations()) >= done + 1000, 30)
    assert agent.metric("portwatch_events_lost_total") == 0
    received: list[dict[str, Any]] = []
    rest = b""
    slow.settimeout(1.0)

    def read_all() -> None:
        nonlocal rest
        try:
            while True:
                *whole, rest = (rest + slow.recv(1 << 20)).split(b"\n")
                received.extend(json.loads(line) for line in whole)
        except TimeoutError:
            pass

    read_all()
    assert binder.bind(29999) == "EACCES"
    read_all()
    slow.close()
    missed = [event["count"] for event in received if event["kind"] == "lost"]
    seen = [event["bind"]["port"] for event in violations(received, sandbox.path)]
    assert len(missed) == 1
    assert missed[0] > 1000
    assert seen[-1] == 29999
    assert len(seen) + missed[0] == 8001
    assert seen[:-1] == list(range(20000, 20000 + len(seen) - 1))


def test_readers_that_come_and_go(sandbox: Sandbox) -> None:
    """Readers that connect and vanish under a storm of events never end the agent."""
    agent = sandbox.agent(sandbox.policy(denying("20000-29999")))
    binder = sandbox.binder()
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with socket.socket(socket.AF_UNIX) as reader:
                try:
                    reader.connect(str(sandbox.socket))
                except OSError:
                    return
                reader.sendall(b"hello, what is this?")

    visitors = [threading.Thread(target=come_and_go) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for start in range(20000, 26000, 500):
        assert {binder.bind(start + n) for n in range(500)} == {"EACCES"}
    stop.set()
    for visitor in visitors:
        visitor.join()
    eventually(lambda: len(agent.violations()) == 6000, within=10)
    assert agent.process.poll() is None, agent.log
    assert agent.end() == 0


def test_more_events_than_fit(sandbox: Sandbox) -> None:
    """Where the agent stands still, what does not fit is told as lost, and
    told + lost = happened, exactly."""
    policy = sandbox.policy(denying("10000-49999"))
    agent = sandbox.agent(policy)
    binder = sandbox.binder()
    agent.process.send_signal(signal.SIGSTOP)
    before = sandbox.status()
    total = 0
    while sandbox.status()["events_lost"] == before["events_lost"]:
        assert total < 36000, "the ring buffer has an end"
        assert {binder.bind(10000 + total + n) for n in range(4000)} == {"EACCES"}
        total += 4000
    agent.process.send_signal(signal.SIGCONT)
    lost = sandbox.status()["events_lost"] - before["events_lost"]
    assert lost > 0

    def told() -> int:
        """Without the tails, which stand for the lost ones and name no process."""
        return sum("process" in event for event in agent.violations())

    eventually(lambda: told() == total - lost, within=15)
    told_lost = eventually(lambda: [e for e in agent.events if e["kind"] == "lost"])
    assert sum(event["count"] for event in told_lost) == lost
    assert sandbox.status()["binds"]["denied"] - before["binds"]["denied"] == total
