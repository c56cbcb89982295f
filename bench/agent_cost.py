"""What the agent can take and what it needs: violations a second, memory, scrapes."""

from __future__ import annotations

import contextlib
import re
import signal
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.ground import Ground
from bench.policy_cost import PORTWATCH
from bench.rows import Row
from portwatch.kernel.pins import PinDir

STORM_SECONDS = 10
STORM_PORTS = 40_000
RATES = (20_000, 25_000, 30_000, 40_000)
FIRST_STORM_PORT = 20_000
SCRAPES = 9
GZIP = {"Accept-Encoding": "gzip"}
PROMETHEUS = GZIP | {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


@dataclass(frozen=True)
class RunningAgent:
    """A real agent of the bench's own."""

    process: subprocess.Popen[str]
    url: str
    events: Path

    def metrics(self) -> dict[str, float]:
        """The metrics page: series → value."""
        page = self.page()
        pairs = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, value in pairs}

    def page(self) -> str:
        """The metrics page as text."""
        return self.scrape().decode()

    def scrape(self, **headers: str) -> bytes:
        """The page as it comes for a scraper that sends these."""
        request = urllib.request.Request(f"{self.url}/metrics", headers=headers)
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    @property
    def rss_mib(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@contextlib.contextmanager
def running_agent(
    ground: Ground, cgroup: Path, pins: PinDir, *options: str
) -> Iterator[RunningAgent]:
    """`portwatch run` with every bind of `cgroup` denied, but for ports below 1024."""
    policy = ground.folder / f"{cgroup.name}.yaml"
    rule = f"{{name: storm, for: {{cgroup: {ground.path_of(cgroup)}}}, deny: [1024-65535]}}"
    policy.write_text(f"mode: enforce\nconstraints: [{rule}]\n")
    events = ground.folder / f"{cgroup.name}.jsonl"
    command = [*PORTWATCH, "run", "--policy", str(policy), "--cgroup", str(cgroup)]
    command += ["--pin-dir", str(pins.path), "--listen", "127.0.0.1:0", "--events", str(events)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = ""
        for line in process.stderr:
            if "in force" in line:
                url = re.findall(r"(http://\S+)/metrics", line)[0]
                break
        try:
            yield RunningAgent(process, url, events)
        finally:
            process.send_signal(signal.SIGINT)


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about the agent."""
    yield from _memory(ground)
    yield from _storm(ground)
    for series, target in ((2000, 30), (10_000, 150)):
        yield from _scrape(ground, series, target)


def _memory(ground: Ground) -> Iterator[Row]:
    cgroup, pins = ground.cgroup("memory"), ground.pin_dir("memory")
    with running_agent(ground, cgroup, pins) as agent:
        fresh = agent.rss_mib
        ground.binds(cgroup, 10_000, FIRST_STORM_PORT, 10_000, rate=10_000)
        _wait_for_events(agent, 10_000)
        agent.page()
        note = f"{fresh:.1f} MiB when started"
        yield Row("agent RSS after 10,000 distinct violations", "MiB", agent.rss_mib, 40, note=note)


def _storm(ground: Ground) -> Iterator[Row]:
    """Ports are used again after more than a second, so that no event is suppressed."""
    best = 0
    for rate in RATES:
        storm = _storm_at(ground, rate)
        if storm.lost or storm.suppressed or storm.told != storm.happened:
            break
        best = rate
    what = f"violations a second for {STORM_SECONDS} s, no event lost"
    yield Row(what, "/s", best, 20_000, at_least=True)
    storm = _storm_at(ground, 0)
    yield Row(
        "  beyond that: told + lost + suppressed over happened",
        "",
        (storm.told + storm.lost + storm.suppressed) / storm.happened,
        note=f"{storm.happened:,} = {storm.told:,} + {storm.lost:,} + {storm.suppressed:,}",
    )


@dataclass(frozen=True)
class Storm:
    """Violations that happened, and of them: told by an event each, event lost, suppressed."""

    happened: int
    told: int
    lost: int
    suppressed: int


def _storm_at(ground: Ground, rate: int) -> Storm:
    name = f"storm-{rate}"
    cgroup, pins = ground.cgroup(name), ground.pin_dir(name)
    count = (rate or 60_000) * STORM_SECONDS
    with running_agent(ground, cgroup, pins) as agent:
        ground.binds(cgroup, count, FIRST_STORM_PORT, STORM_PORTS, rate=rate)
        _wait_until_idle(agent)
        metrics = agent.metrics()
    with agent.events.open() as lines:
        told = sum('"kind":"violation"' in line and '"process"' in line for line in lines)
    return Storm(
        int(sum(v for s, v in metrics.items() if s.startswith("portwatch_violations_total"))),
        told,
        int(metrics["portwatch_events_lost_total"]),
        int(metrics["portwatch_events_suppressed_total"]),
    )


def _wait_for_events(agent: RunningAgent, count: int) -> None:
    while agent.metrics()['portwatch_events_total{kind="violation"}'] < count:
        time.sleep(0.1)


def _wait_until_idle(agent: RunningAgent) -> None:
    """Until no event has come for two seconds: the tails of bursts are told by then."""
    last = -1.0
    while (now := agent.metrics()['portwatch_events_total{kind="violation"}']) != last:
        last = now
        time.sleep(2.2)


def _scrape(ground: Ground, series: int, target: float) -> Iterator[Row]:
    """Each format in turn, so that all see the same machine."""
    cgroup, pins = ground.cgroup(f"scrape-{series}"), ground.pin_dir(f"scrape-{series}")
    ways: dict[str, dict[str, str]] = {"": {}, "OpenMetrics, gzip": PROMETHEUS, "gzip": GZIP}
    figures: dict[str, list[float]] = {way: [] for way in ways}
    with running_agent(ground, cgroup, pins, "--max-series", str(series)) as agent:
        ground.binds(cgroup, series, FIRST_STORM_PORT, series, rate=10_000)
        _wait_for_events(agent, series)
        for _ in range(SCRAPES):
            for way, headers in ways.items():
                start = time.perf_counter()
                agent.scrape(**headers)
                figures[way].append((time.perf_counter() - start) * 1e3)
    yield Row(f"scrape at {series:,} series", "ms", statistics.median(figures.pop("")), target)
    for way, taken in figures.items():
        yield Row(f"  the same as {way}", "ms", statistics.median(taken), target)
