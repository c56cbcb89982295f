"""What each query of the dashboard and the alerts has to answer after the watched day's script."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import Labels
from watched import ALLOWED, BY_BATCH, COLLISIONS, DENIED, RECORDED, Day

BINDS_ALLOWED = ALLOWED + 1 + COLLISIONS
BINDS = DENIED + RECORDED + BY_BATCH + BINDS_ALLOWED
RATE_SECONDS = 60

Answer = Mapping[Labels, Any]


@dataclass(frozen=True)
class Between:
    """Equal to any number from `low` to `high`."""

    low: float
    high: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and self.low <= other <= self.high

    __hash__ = None  # type: ignore[assignment]


def series(**labels: str) -> Labels:
    """The labels of one series."""
    return frozenset(labels.items())


def per_second(count: float) -> Between:
    """What rate() makes of `count` in its window: it takes each end as up to half a scrape later,
    and the window may be mostly before the first scrape."""
    return Between(count / RATE_SECONDS * 0.999, count / RATE_SECONDS * 2)


def on_panels(day: Day) -> dict[str, Answer]:
    """PANEL/REF → what was there when the first binds had been scraped."""
    here = day.instance
    agent = {"instance": here, "job": "portwatch"}
    reserved = {"constraint": "reserved", "verdict": "denied"}
    trial = {"constraint": "trial", "verdict": "recorded"}
    on_9001 = {"protocol": "tcp", "port": "9001"}
    on_9002 = {"protocol": "udp", "port": "9002"}
    on_9005 = {"protocol": "tcp", "port": "9005"}
    on_9100 = {"protocol": "tcp", "port": "9100"}
    policy = {key: day.status["policy"][key] for key in ("mode", "sha256", "source")}
    version = {"version": day.status["version"], "kernel": platform.release()}
    age = Between(0, day.at["first"] - day.began + 60)
    ns = day.bind4["run_time_ns"] / day.bind4["run_cnt"]
    nothing: Labels = series()
    return {
        "Enforcing/A": {nothing: 1},
        "Agents not scraped/A": {nothing: 0},
        "Hooks gone/A": {nothing: 0},
        "Last policy/A": {nothing: 1},
        "Policies in force/A": {nothing: 1},
        "Events lost/A": {nothing: 0},
        "Instances/A": {series(instance=here): 1},
        "Instances/B": {series(instance=here): 0},
        "Instances/C": {series(instance=here, **policy): 1},
        "Instances/D": {series(instance=here): age},
        "Instances/E": {series(instance=here): 1},
        "Instances/F": {series(instance=here): 0},
        "Instances/G": {series(instance=here, **version): 1},
        "Hooks over time/A": {series(hook=hook): 1 for hook in day.status["hooks"]},
        "Not covered/A": {series(gap=gap): 1 for gap in day.status["uncovered"]},
        "Tables, how full/A": how_full(day.page),
        "Denied/A": {nothing: DENIED + BY_BATCH},
        "Recorded/A": {nothing: RECORDED},
        "By constraint/A": {series(**reserved): DENIED + BY_BATCH, series(**trial): RECORDED},
        "By workload and port/A": {
            series(instance=here, workload="shop", **on_9001, **reserved): DENIED,
            series(instance=here, workload="batch", **on_9001, **reserved): BY_BATCH,
            series(instance=here, workload="shop", **on_9002, **trial): RECORDED,
        },
        "Workloads/A": {
            series(workload="shop"): DENIED + RECORDED,
            series(workload="batch"): BY_BATCH,
        },
        "Ports/A": {series(**on_9001): DENIED + BY_BATCH, series(**on_9002): RECORDED},
        "Binds judged/A": {
            series(verdict="allowed"): per_second(BINDS_ALLOWED),
            series(verdict="denied"): per_second(DENIED + BY_BATCH),
            series(verdict="recorded"): per_second(RECORDED),
        },
        "Sockets against the policy/A": {nothing: 1},
        "Last look/A": {nothing: age},
        "By workload/A": {series(workload="batch"): 1},
        "Who listens against the policy/A": {
            series(
                instance=here, workload="batch", scope="loopback", verdict="denied", **on_9005
            ): 1,
        },
        "By who wanted the port/A": {series(workload="shop"): COLLISIONS},
        "Which port/A": {series(instance=here, workload="shop", **on_9100): COLLISIONS},
        "Time for each run of a hook/A": {
            series(hook="bind4"): Between(ns * 0.999e-9, ns * 1.001e-9)
        },
        "Runs of the hooks/A": {series(hook="bind4"): per_second(BINDS)},
        "Share of a core spent in the hooks/A": {series(instance=here): Between(1e-9, 1)},
        "The agent's CPU/A": {series(**agent): Between(0, 2)},
        "The agent's memory/A": {series(**agent): Between(10 << 20, 100 << 20)},
        "How long a scrape takes/A": {series(**agent): Between(1e-6, 1)},
    }


def of_alerts(day: Day) -> dict[str, tuple[str, Answer]]:
    """ALERT → the moment, and what its expression answered then."""
    agent = {"instance": day.instance, "job": "portwatch"}
    shop = {"workload": "shop", **agent}
    batch = {"workload": "batch", **agent}
    reserved = {"constraint": "reserved", "verdict": "denied"}
    return {
        "PortwatchNewViolation": (
            "first",
            {
                series(**shop, **reserved): 1,
                series(**batch, **reserved): 1,
                series(**shop, constraint="trial", verdict="recorded"): 1,
            },
        ),
        "PortwatchViolationsBurst": ("first", {series(**shop, **reserved): DENIED}),
        "PortwatchNewListenerOutsidePolicy": ("first", {series(**batch, verdict="denied"): 1}),
        "PortwatchCollisionLoop": (
            "first",
            {series(**shop, protocol="tcp", port="9100"): COLLISIONS},
        ),
        "PortwatchPolicyRefused": ("broken", {series(**agent): 0}),
        "PortwatchWebConfigRefused": ("broken", {series(**agent): 0}),
        "PortwatchHookGone": ("broken", {series(**agent, hook="post_bind6"): 0}),
        "PortwatchHookDetached": ("healed", {series(**agent, hook="post_bind6"): 1}),
        "PortwatchNotEnforcing": ("broken", {series(**agent): 0}),
        "PortwatchEventsLost": ("broken", {series(**agent): day.lost}),
        "PortwatchSeriesFolded": ("broken", {series(**agent): day.flooded}),
        "PortwatchAgentDown": ("down", {series(**agent): 0}),
    }


def how_full(page: str) -> Answer:
    """Each table's entries over its capacity, from a page of metrics."""
    tables: dict[str, dict[str, float]] = {
        "portwatch_map_entries": {},
        "portwatch_map_capacity": {},
    }
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in tables:
                tables[sample.name][sample.labels["map"]] = sample.value
    entries, capacity = tables.values()
    return {series(map=name): used / capacity[name] for name, used in entries.items()}
