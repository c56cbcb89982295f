"""`run --log-binds`: every kind of bind that is let through, in the event stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from binder import Bind
from product import eventually
from sandbox import Sandbox, denying


def binds(path: Path, home: str) -> list[dict[str, Any]]:
    """The logged binds of a home, as far as they are written."""
    lines = path.read_text().splitlines() if path.exists() else []
    events = [json.loads(line) for line in lines]
    return [
        event
        for event in events
        if event["kind"] == "bind" and event["workload"]["name"].startswith(home)
    ]


def test_binds_are_logged_with_all_that_a_violation_tells(shared: Sandbox) -> None:
    """An allowed bind has the keys of a violation but those of a constraint; none is told twice
    under two kinds."""
    log = shared.folder / "events.jsonl"
    agent = shared.agent(shared.policy(denying(9001)), "--keep", "--log-binds", "--events", log)
    binder = shared.binder()
    said = binder.answers([Bind(9000, uid=1234, gid=4321), Bind(9001), Bind(0, "::", v6only=True)])
    assert [answer.said for answer in said] == ["ok", "EACCES", "ok"]
    found = eventually(lambda: len(found := binds(log, shared.path)) == 2 and found)
    first, second = found
    assert list(first) == ["time", "kind", "verdict", "bind", "workload", "process", "count"]
    assert (first["verdict"], first["count"]) == ("allowed", 1)
    assert first["bind"]["port"] == first["bind"]["requested_port"] == 9000
    assert "v6only" not in first["bind"]
    assert first["workload"] == {"name": shared.path, "cgroup": shared.path}
    assert (first["process"]["pid"], first["process"]["uid"]) == (binder.pid, 1234)
    assert (second["bind"]["port"], second["bind"]["v6only"]) == (0, True)
    assert agent.metric("portwatch_events_total", kind="bind") >= 2
    assert agent.metric("portwatch_binds_unlogged_total") == 0


def test_the_next_agent_logs_only_if_told_to(shared: Sandbox) -> None:
    """Logging ends with the agent that was told to, and does not come back by itself."""
    log = shared.folder / "events.jsonl"
    first = shared.agent(shared.policy(denying(9001)), "--keep", "--log-binds", "--events", log)
    binder = shared.binder()
    binder.answers([Bind(9000)])
    eventually(lambda: binds(log, shared.path))
    first.end()
    second = shared.agent(shared.policy(denying(9001)), "--keep", "--events", log)
    binder.answers([Bind(9002), Bind(9001)])
    eventually(lambda: '"port":9001' in log.read_text())
    assert [event["bind"]["port"] for event in binds(log, shared.path)] == [9000]
    assert second.metric("portwatch_events_total", kind="bind") == 0
