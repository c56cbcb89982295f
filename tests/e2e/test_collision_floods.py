"""Collisions that repeat, ports that are shared, and who is gone by the time it is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time

import pytest
from colliding import PORT, TOLD_SECONDS, bind, counted, one_told, start_agent, together, told
from product import PORTWATCH, AgentProcess, eventually
from sandbox import Sandbox

CRASH = "import socket; socket.socket().bind(('127.0.0.1', {port}))"
SHARE_SECONDS = 3  # a search takes less


@pytest.fixture
def agent(shared: Sandbox) -> AgentProcess:
    """At work."""
    return start_agent(shared)


def test_a_crash_loop_does_not_flood(agent: AgentProcess, shared: Sandbox) -> None:
    """200 failed binds in three seconds are two events at most; with what is told at the end
    their counts are the metric. A second agent tells none of them again."""
    holder, binder = together(shared, "shop", "web")
    assert bind(holder, "127.0.0.1", PORT, ("listen",)) == "ok"
    for _ in range(40):
        assert [binder.bind(PORT) for _ in range(5)] == ["EADDRINUSE"] * 5
        time.sleep(0.07)
    one_told(agent, PORT)
    assert len(told(agent)) <= 2
    assert counted(agent, shared, port=str(PORT)) == 200
    assert agent.end() == 0
    assert sum(event["count"] for event in told(agent)) == 200

    again = shared.agent(shared.folder / "policy.yaml", "--keep")
    assert counted(again, shared, port=str(PORT)) == 200
    assert binder.bind(PORT) == "EADDRINUSE"
    assert one_told(again, PORT)["count"] == 1
    assert again.end() == 0
    assert sum(event["count"] for event in told(again)) == 1


def test_who_is_gone_is_never_somebody_else(agent: AgentProcess, shared: Sandbox) -> None:
    """Processes that fail and end at once: pid and name are told, and of program and arguments
    nothing that is not theirs."""
    holder, binder = together(shared, "shop", "web")
    ports = range(PORT, PORT + 12)
    for port in ports:
        assert bind(holder, "127.0.0.1", port, ("listen",)) == "ok"
    for port in ports:
        crash = ["python3", "-c", CRASH.format(port=port)]
        assert binder.ask(do="run", command=crash)[0] == 1
    pids = set()
    for port in ports:
        event = one_told(agent, port)
        process = event["process"]
        assert process["comm"].startswith("python3")
        arguments = f" -c {CRASH.format(port=port)}"
        assert process.get("cmdline", arguments).endswith(arguments)
        assert "python3" in process.get("exe", "python3")
        assert event["workload"]["cgroup"] == f"{shared.path}/web"
        assert event["holder"]["process"]["pid"] == holder.pid
        pids.add(process["pid"])
    assert len(pids) == len(ports)
    assert not pids & {holder.pid, binder.pid}


def test_a_holder_that_is_gone_is_not_named(agent: AgentProcess, shared: Sandbox) -> None:
    """Who ended before it was looked for is nobody, though another workload has the number of the
    port in another network."""
    holder, binder = together(shared, "shop", "web")
    (elsewhere,) = together(shared, "elsewhere")
    assert bind(elsewhere, "127.0.0.1", PORT, ("listen",)) == "ok"
    assert bind(holder, "127.0.0.1", PORT) == "ok"
    assert binder.bind(PORT) == "EADDRINUSE"
    holder.close()
    event = one_told(agent, PORT)
    held = event.get("holder", {}).get("process", {}).get("pid", holder.pid)
    assert held == holder.pid


def test_two_workloads_that_share_a_port_are_told(agent: AgentProcess, shared: Sandbox) -> None:
    """Both have it by SO_REUSEPORT: one event, `shared`, that names both, whichever was looked at
    first; the same workload twice is its own affair."""
    first, second, third = together(shared, "shop", "web", "web")
    for protocol, port in (("tcp", PORT), ("udp", PORT)):
        listen = [("listen",)] if protocol == "tcp" else []
        for binder in (first, second, third):
            said = bind(binder, "127.0.0.1", port, *listen, protocol=protocol, reuseport=1)
            assert said == "ok"
    for binder in (second, third):
        assert bind(binder, "127.0.0.1", PORT + 1, ("listen",), reuseport=1) == "ok"
    events = eventually(lambda: len(told(agent)) == 2 and told(agent), TOLD_SECONDS)
    assert {event["bind"]["protocol"] for event in events} == {"tcp", "udp"}
    for event in events:
        assert (event["shared"], event["count"]) == (True, 1)
        assert "errno" not in event
        sides = [
            (each["workload"]["name"], each["process"]["pid"]) for each in (event, event["holder"])
        ]
        assert sorted(sides)[1] == ("till", first.pid)
        assert sorted(sides)[0] in [(f"{shared.path}/web", one.pid) for one in (second, third)]
    time.sleep(SHARE_SECONDS)
    assert len(told(agent)) == 2
    assert counted(agent, shared) == 0


def test_what_was_shared_before_the_agent_came_is_told(shared: Sandbox) -> None:
    """No record tells of it; the first survey finds the two, and names the one in the other."""
    holder, binder = together(shared, "shop", "web")
    for one in (holder, binder):
        assert bind(one, "127.0.0.1", PORT, ("listen",), reuseport=1) == "ok"
    agent = start_agent(shared)
    event = one_told(agent, PORT)
    assert event["shared"]
    names = {event["workload"]["name"], event["holder"]["workload"]["name"]}
    assert names == {"till", f"{shared.path}/web"}


def test_people_read_it_in_a_line(agent: AgentProcess, shared: Sandbox) -> None:
    """`portwatch events` on a terminal: what was taken, who wanted it, whose it is and where."""
    holder, binder = together(shared, "shop", "web")
    assert bind(holder, "0.0.0.0", PORT, ("listen",)) == "ok"
    assert binder.bind(PORT) == "EADDRINUSE"
    event = one_told(agent, PORT)
    ours, theirs = pty.openpty()
    command = [PORTWATCH, "events", "--pin-dir", str(shared.pin_dir)]
    subprocess.run(command, stdout=theirs, check=True, timeout=30)
    os.close(theirs)
    lines = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    comm = event["process"]["comm"]
    assert lines[-1] == (
        f"{event['time'][11:19]} taken tcp 127.0.0.1:{PORT}: {comm}[{binder.pid}] of "
        f"{shared.path}/web wanted it of {comm}[{holder.pid}] of till on 0.0.0.0"
    )
    done = shared.run("events", "--json")
    assert json.loads(done.stdout.splitlines()[-1]) == event
