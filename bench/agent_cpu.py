"""What the agent takes of the CPU, its children included: at rest, and at a steady rate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.agent_cost import FIRST_STORM_PORT, RunningAgent, running_agent
from bench.ground import Ground
from bench.rows import Row

SETTLE_SECONDS = 8
REST_SECONDS = 120
"""Two looks at what listens would be due in it."""

RATE = 1000
RATE_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")


def measure(ground: Ground) -> Iterator[Row]:
    """The rows, in percent of one core."""
    cgroup, pins = ground.cgroup("rest"), ground.pin_dir("rest")
    with running_agent(ground, cgroup, pins) as agent:
        time.sleep(SETTLE_SECONDS)
        own, children = _cpu_percent(agent, lambda: time.sleep(REST_SECONDS))
        note = f"{own:.3f} its loop, {children:.3f} its children, in {REST_SECONDS} s"
        yield Row("the agent's CPU at rest", "%", own + children, 0.1, note=note)
    cgroup, pins = ground.cgroup("rate"), ground.pin_dir("rate")
    with running_agent(ground, cgroup, pins) as agent:
        time.sleep(SETTLE_SECONDS)
        count = RATE * RATE_SECONDS
        own, children = _cpu_percent(
            agent, lambda: ground.binds(cgroup, count, FIRST_STORM_PORT, 20_000, rate=RATE)
        )
        told = agent.metrics()['portwatch_events_total{kind="violation"}']
        note = f"{own:.2f} its loop, {children:.2f} its children, {told:,.0f} events in 20 s"
        yield Row(f"the agent's CPU at {RATE:,} violations/s", "%", own + children, 5, note=note)


def _cpu_percent(agent: RunningAgent, work: object) -> tuple[float, float]:
    """Of the agent and of its children that have ended, while `work` is done."""
    assert callable(work)
    before, start = _ticks(agent), time.monotonic()
    work()
    seconds, after = time.monotonic() - start, _ticks(agent)
    own, children = (
        (late - early) / TICKS / seconds for early, late in zip(before, after, strict=True)
    )
    return own * 100, children * 100


def _ticks(agent: RunningAgent) -> tuple[int, int]:
    text = Path(f"/proc/{agent.process.pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
