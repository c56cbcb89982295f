"""Workloads come and go by the thousand under a real agent, and none is taken for another."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

from binder import Bind
from product import AgentProcess, eventually
from sandbox import Sandbox

from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree

IN_A_ROW = 1000
PLACES = 7  # paths that are used again and again, each time by another cgroup
MORE_THAN_FIT = 1500  # events in the ring of 512 KiB
FOLLOWS_SECONDS = 20.0
PORTS = {"red": 9001, "blue": 9003}
KINDS = ("red", "blue", "plain")
EVERYONES = 9002


def policy(home: str) -> str:
    """Everybody at home is denied 9002, red ones 9001 too, and blue ones 9003."""
    own = "".join(
        f"  - {{name: {kind}, for: {{cgroup: {home}/{kind}-*}}, deny: [{port}]}}\n"
        for kind, port in PORTS.items()
    )
    return (
        f"version: 1\nmode: enforce\nconstraints:\n{own}"
        f"  - {{name: home, for: {{cgroup: {home}}}, deny: [{EVERYONES}]}}\n"
    )


def entered(sandbox: Sandbox) -> set[int]:
    """The cgroup ids in the kernel's table."""
    with closing(PinDir(sandbox.pin_dir).open_map("cgroups")) as opened:
        return {layout.CgroupKey.from_buffer_copy(key).id for key, _ in opened.items()}


def counted(agent: AgentProcess, constraint: str) -> float:
    """The violations of a constraint, over all workloads."""
    return agent.metric("portwatch_violations_total", constraint=constraint)


def ids_below(cgroup: Path) -> set[int]:
    """The ids that there are in the hierarchy."""
    return set(CgroupTree(cgroup).scan().values())


def holds_what_is_there(sandbox: Sandbox, since: set[int]) -> bool:
    """All of the home is in the table, and nothing that came `since` and is gone."""
    there = ids_below(sandbox.cgroup.parent)
    return ids_below(sandbox.home) <= entered(sandbox) and not (entered(sandbox) - since - there)


def test_a_thousand_in_a_row(shared: Sandbox) -> None:
    """A process that binds right after its cgroup was made gets what its own class or its
    parent's says, never another's, and so do its events; in the end the table is what is there."""
    agent = shared.agent(shared.policy(policy(shared.path)), "--keep")
    binder = shared.binder()
    eventually(lambda: ids_below(shared.home) <= entered(shared), FOLLOWS_SECONDS)
    before = entered(shared)
    own = {kind: counted(agent, kind) for kind in PORTS}
    for number in range(IN_A_ROW):
        kind = KINDS[number % len(KINDS)]
        place = shared.home / f"{kind}-{number % PLACES}"
        place.mkdir()
        asked = [*PORTS.values(), EVERYONES]
        answers = binder.answers([Bind(port, move=str(place)) for port in asked])
        said = dict(zip(asked, (answer.said for answer in answers), strict=True))
        assert said[EVERYONES] == "EACCES", place
        for other, port in PORTS.items():
            if other != kind:
                assert said[port] == "ok", place
            else:
                own[kind] += said[port] == "EACCES"
        binder.move(shared.home)
        place.rmdir()
    eventually(lambda: holds_what_is_there(shared, before), FOLLOWS_SECONDS)
    eventually(lambda: agent.violations(EVERYONES), FOLLOWS_SECONDS)
    for event in agent.violations():
        name = event["workload"]["name"].removeprefix(shared.path)
        if event["constraint"] != "home":
            assert name.startswith(f"/{event['constraint']}-"), event
            assert event["bind"]["port"] == PORTS[event["constraint"]]
        else:
            assert event["bind"]["port"] == EVERYONES
    assert {kind: counted(agent, kind) for kind in PORTS} == own


def test_more_than_the_ring_holds(shared: Sandbox) -> None:
    """An agent that could not read for a while, and missed events, looks at everything again: new
    cgroups are entered, those that are gone are not, and a place has the class of who is there."""
    agent = shared.agent(shared.policy(policy(shared.path)), "--keep")
    for number in range(100):
        shared.make(f"red-{number}")
    eventually(lambda: ids_below(shared.home) <= entered(shared), FOLLOWS_SECONDS)
    before = ids_below(shared.home)
    with closing(Readings(PinDir(shared.pin_dir))) as readings:
        lost = readings.totals().cgroup_events_lost
        os.kill(agent.pid, signal.SIGSTOP)
        for number in range(MORE_THAN_FIT):
            shared.make(f"plain-{number}")
        for number in range(100):
            (shared.home / f"red-{number}").rmdir()
        for number in range(50):
            shared.make(f"blue-{number}")
            (shared.home / f"red-{number}").mkdir()
        assert readings.totals().cgroup_events_lost > lost
    os.kill(agent.pid, signal.SIGCONT)
    gone = before - ids_below(shared.home)
    assert len(gone) == 100

    def is_right() -> bool:
        return ids_below(shared.home) <= entered(shared) and not gone & entered(shared)

    eventually(is_right, FOLLOWS_SECONDS)
    binder = shared.binder()
    for kind, number in (("red", 7), ("blue", 7), ("plain", 1499)):
        binder.move(shared.home / f"{kind}-{number}")
        said = {other: binder.bind(port) for other, port in PORTS.items()}
        assert said == {other: "EACCES" if other == kind else "ok" for other in PORTS}
