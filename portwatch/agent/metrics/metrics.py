"""The metrics of CONTRACT §3, made anew at each scrape from the kernel's counts.

Nothing is counted here that the kernel counts, so that no count is lost with the agent. What
the agent alone knows (events told, policy loads) is in AgentState.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from portwatch import __version__
from portwatch.agent.events.kinds import EVENT_KINDS
from portwatch.agent.metrics.families import (
    Collector,
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    ProcessCollector,
)
from portwatch.agent.metrics.ports import PortMetrics
from portwatch.agent.state import AgentState
from portwatch.kernel.maps import MAPS
from portwatch.kernel.names import Names
from portwatch.kernel.readings import HookState, Readings


class PortwatchCollector(Collector):
    """Yields fresh families; changes nothing in the kernel."""

    def __init__(
        self, readings: Readings, names: Names, state: AgentState, max_series: int
    ) -> None:
        self._readings = readings
        self._state = state
        self._ports = PortMetrics(readings, names, state, max_series)
        self._highest: dict[tuple[str, ...], float] = {}

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of CONTRACT §3."""
        totals, hooks = self._readings.totals(), self._readings.hooks()
        binds = CounterMetricFamily(
            "portwatch_binds",
            "Binds that were judged: each bind() of an inet socket once, by portwatch's verdict "
            "and whether or not the kernel then granted it.",
            labels=("verdict", "protocol", "family"),
        )
        for labels, count in totals.binds.items():
            # A bind to port 0 is counted, and may be retracted an instant later.
            binds.add_metric(labels, self._risen(labels, count))
        yield binds
        entries: dict[str, int] = {}
        yield from self._ports.collect(entries)
        yield from self._events()
        yield _counter(
            "portwatch_events_lost",
            "Events that did not fit the ring buffer; their violations are counted all the same, "
            "and told in the count of a later event.",
            totals.events_lost,
        )
        yield _counter(
            "portwatch_binds_unlogged",
            "Binds that were let through and, with --log-binds, should have become events, and "
            "did not fit the ring buffer.",
            totals.binds_untold,
        )
        yield _counter(
            "portwatch_events_suppressed",
            "Violations that were folded into the count of a later event of the same workload, "
            "constraint and port.",
            totals.events_suppressed,
        )
        yield _counter(
            "portwatch_unjudged_binds",
            "Binds that were let through because no policy had been published yet, or refused with "
            "ENOMEM because the socket had no memory left to judge the port that it would get.",
            totals.unjudged,
        )
        yield from self._policy()
        yield from self._hooks(hooks)
        yield from self._maps(entries)
        yield _gauge(
            "portwatch_enforcing",
            "Whether a bind can be denied now: 1, or 0 where a hook is gone or the policy only "
            "records.",
            self._state.enforcing and all(h.attached for h in hooks if h.required),
        )
        gaps = GaugeMetricFamily(
            "portwatch_uncovered",
            "Ways to own a port that are not seen or not denied on this kernel; always 1.",
            labels=("gap",),
        )
        for gap in self._readings.uncovered(self._state.published_unread):
            gaps.add_metric((gap,), 1)
        yield gaps
        build = GaugeMetricFamily(
            "portwatch_build_info",
            "The version of portwatch and of what it runs on; always 1.",
            labels=("version", "python", "kernel"),
        )
        build.add_metric((__version__, platform.python_version(), platform.release()), 1)
        yield build

    def _events(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "portwatch_events", "Events told by this agent since it started.", labels=("kind",)
        )
        for kind in EVENT_KINDS:
            family.add_metric((kind,), self._state.events[kind])
        yield family

    def _policy(self) -> Iterator[Metric]:
        state = self._state
        info = GaugeMetricFamily(
            "portwatch_policy_info",
            "The policy in force; always 1.",
            labels=("sha256", "mode", "source"),
        )
        info.add_metric((state.sha256, state.mode, state.source), 1)
        yield info
        yield _gauge(
            "portwatch_policy_constraints",
            "Constraints of the policy in force.",
            state.constraints,
        )
        yield _gauge(
            "portwatch_policy_generation",
            "Number of the policy in force; each swap raises it.",
            state.generation,
        )
        yield _gauge(
            "portwatch_policy_last_load_successful",
            "Whether the last attempt to load a policy succeeded.",
            state.last_load_successful,
        )
        yield _gauge(
            "portwatch_policy_last_load_success_timestamp_seconds",
            "When a policy was last loaded with success, in seconds since the epoch.",
            state.last_load_success_seconds,
        )

    def _maps(self, counted: dict[str, int]) -> Iterator[Metric]:
        entries = GaugeMetricFamily(
            "portwatch_map_entries", "Entries in use of a bounded table.", labels=("map",)
        )
        capacity = GaugeMetricFamily(
            "portwatch_map_capacity", "Entries that fit a bounded table.", labels=("map",)
        )
        fill = {name: (used, MAPS[name].max_entries) for name, used in counted.items()}
        for name, (used, bound) in sorted((fill | self._state.map_fill()).items()):
            entries.add_metric((name,), used)
            capacity.add_metric((name,), bound)
        yield from (entries, capacity)
        yield _gauge(
            "portwatch_cgroups_unclassified",
            "Cgroups that did not fit a table and keep their nearest known ancestor's constraints.",
            self._state.unclassified(),
        )

    def _hooks(self, hooks: list[HookState]) -> Iterator[Metric]:
        attached = GaugeMetricFamily(
            "portwatch_hook_attached",
            "Whether the program of a hook is attached to the kernel.",
            labels=("hook",),
        )
        runs = CounterMetricFamily(
            "portwatch_hook_runs",
            "Runs of a hook's program while the kernel's BPF statistics were on.",
            labels=("hook",),
        )
        seconds = CounterMetricFamily(
            "portwatch_hook_run_seconds",
            "Time spent in a hook's program while the kernel's BPF statistics were on.",
            labels=("hook",),
        )
        again = CounterMetricFamily(
            "portwatch_hook_reattached",
            "Times that a hook which somebody had detached was attached again.",
            labels=("hook",),
        )
        for hook in hooks:
            again.add_metric((hook.name,), hook.reattached)
            attached.add_metric((hook.name,), hook.attached)
            # While a program is replaced, the runs of the one before it are nowhere for an instant.
            runs.add_metric((hook.name,), self._risen((hook.name, "runs"), hook.runs))
            run_seconds = self._risen((hook.name, "seconds"), hook.run_ns / 1e9)
            seconds.add_metric((hook.name,), run_seconds)
        yield from (attached, again, runs, seconds)

    def _risen(self, what: tuple[str, ...], count: float) -> float:
        """The count, or the highest that was ever shown: a counter never goes back."""
        self._highest[what] = highest = max(self._highest.get(what, 0), count)
        return highest


def make_registry(collector: PortwatchCollector) -> CollectorRegistry:
    """A registry of portwatch's own: its collector, and process_* of the agent."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _counter(name: str, help_text: str, value: float) -> Metric:
    family = CounterMetricFamily(name, help_text)
    family.add_metric((), value)
    return family


def _gauge(name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, help_text)
    family.add_metric((), value)
    return family
