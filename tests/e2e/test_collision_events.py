"""Who has the port that somebody wanted: as the running agent tells and counts it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from binder import Binder
from colliding import PORT, TOLD_SECONDS, bind, counted, one_told, start_agent, together, told
from product import AgentProcess, eventually
from sandbox import Sandbox


@pytest.fixture
def agent(shared: Sandbox) -> AgentProcess:
    """At work."""
    return start_agent(shared)


def test_the_event_says_everything(agent: AgentProcess, shared: Sandbox) -> None:
    """Who wanted which port and whose it is, each with process and workload, by the name that the
    policy defines; the keys of the contract and nothing null."""
    holder, binder = together(shared, "shop", "web")
    assert bind(holder, "127.0.0.1", PORT, ("listen",)) == "ok"
    assert binder.bind(PORT) == "EADDRINUSE"
    event = one_told(agent, PORT)
    assert list(event) == [
        *("time", "kind", "errno", "bind", "workload", "process", "holder", "count"),
    ]
    assert (event["errno"], event["count"]) == ("EADDRINUSE", 1)
    network = os.stat(f"/proc/{holder.pid}/ns/net").st_ino
    assert event["bind"] == {
        "protocol": "tcp",
        "family": "ipv4",
        "address": "127.0.0.1",
        "port": PORT,
        "requested_port": PORT,
        "network": f"net:[{network}]",
    }
    assert event["workload"] == {"name": f"{shared.path}/web", "cgroup": f"{shared.path}/web"}
    assert event["process"] == process_of(binder)
    held = event["holder"]
    assert list(held) == ["state", "address", "workload", "process", "since"]
    assert (held["state"], held["address"]) == ("listen", "127.0.0.1")
    assert held["workload"] == {"name": "till", "cgroup": f"{shared.path}/shop"}
    assert held["process"] == process_of(holder)
    assert held["since"].endswith("Z")
    assert b":null" not in b"".join(agent.lines)
    assert counted(agent, shared, protocol="tcp", port=str(PORT)) == 1
    assert counted(agent, shared, workload="till") == 0
    assert agent.metric("portwatch_events_total", kind="collision") == 1


def process_of(binder: Binder) -> dict[str, Any]:
    """As /proc has it."""
    directory = Path(f"/proc/{binder.pid}")
    return {
        "pid": binder.pid,
        "comm": (directory / "comm").read_text().strip(),
        "exe": os.readlink(directory / "exe"),
        "cmdline": (directory / "cmdline").read_text().rstrip("\0").replace("\0", " "),
        "uid": 0,
        "gid": 0,
    }


def test_whatever_address_the_holder_has(agent: AgentProcess, shared: Sandbox) -> None:
    """A wildcard and an address of it, dual-stack and IPv4, each way round, tcp and udp: the
    holder is named. What is v6-only does not meet IPv4."""
    holder, binder = together(shared, "shop", "web")
    pairs = [
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "::"),
        ("::", "::1"),
        ("::1", "::"),
    ]
    cases = [(held, wanted, p) for held, wanted in pairs for p in ("tcp", "udp")]
    for port, (held, wanted, protocol) in enumerate(cases, PORT):
        assert bind(holder, held, port, protocol=protocol) == "ok"
        assert bind(binder, wanted, port, protocol=protocol) == "EADDRINUSE"
    assert bind(holder, "127.0.0.1", 8000, ("listen",)) == "ok"
    assert bind(binder, "::", 8000, ("listen",), v6only=1) == "ok"
    for port, (held, wanted, protocol) in enumerate(cases, PORT):
        event = one_told(agent, port)
        assert (event["bind"]["protocol"], event["bind"]["address"]) == (protocol, wanted)
        assert (event["holder"]["address"], event["holder"]["state"]) == (held, "bound")
        assert event["holder"]["process"]["pid"] == holder.pid
        assert event["holder"]["workload"]["name"] == "till"
    assert told(agent, 8000) == []
    assert len(told(agent)) == len(cases)


def test_the_same_port_elsewhere_is_not_the_holder(agent: AgentProcess, shared: Sandbox) -> None:
    """Two networks, one port, a holder and a loser in each: each loser's own is named."""
    for name in ("one", "two"):
        holder, binder = together(shared, f"{name}-has", f"{name}-wants")
        assert bind(holder, "127.0.0.1", PORT, ("listen",)) == "ok"
        assert bind(binder, "127.0.0.1", PORT) == "EADDRINUSE"
    events = eventually(lambda: len(told(agent)) == 2 and told(agent), TOLD_SECONDS)
    assert {event["holder"]["workload"]["name"] for event in events} == {
        f"{shared.path}/one-has",
        f"{shared.path}/two-has",
    }
    for event in events:
        pid = event["holder"]["process"]["pid"]
        assert event["bind"]["network"] == f"net:[{os.stat(f'/proc/{pid}/ns/net').st_ino}]"
        wanted, has = event["workload"]["name"], event["holder"]["workload"]["name"]
        assert wanted.replace("wants", "has") == has


def test_a_pre_fork_server_and_one_that_is_over(agent: AgentProcess, shared: Sandbox) -> None:
    """Of many processes the oldest is named, and how many `more`; a connection in time-wait has a
    state, and no process or workload."""
    holder, binder = together(shared, "shop", "web")
    assert bind(holder, "127.0.0.1", PORT, ("listen",)) == "ok"
    for _ in range(3):
        holder.spawn("fork")
    leave_time_wait(shared, holder, PORT + 1)
    assert bind(binder, "127.0.0.1", PORT) == "EADDRINUSE"
    assert bind(binder, "127.0.0.1", PORT + 1) == "EADDRINUSE"
    held = one_told(agent, PORT)["holder"]
    assert (held["process"]["pid"], held["more"]) == (holder.pid, 3)
    assert one_told(agent, PORT + 1)["holder"] == {"state": "time-wait", "address": "127.0.0.1"}


def leave_time_wait(sandbox: Sandbox, neighbour: Binder, port: int) -> None:
    """A server closes its connection first and ends."""
    (server,) = together(sandbox, "over")
    server.ask(do="join_network", pid=neighbour.pid)
    script = (
        "import socket\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        f"client = socket.create_connection(('127.0.0.1', {port}))\n"
        "connection, _ = server.accept()\n"
        "connection.close()\n"
        "client.recv(1)\n"
    )
    assert server.ask(do="run", command=["python3", "-c", script]) == [0, ""]
    server.close()
