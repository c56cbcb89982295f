"""The metrics with a workload and a port among their labels: bounded, the rest under `other`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from portwatch.agent.state import AgentState
from portwatch.kernel import layout
from portwatch.kernel.names import OTHER_NAME, Names
from portwatch.kernel.readings import Readings, ViolationCount

VIOLATION_LABELS = ("constraint", "verdict", "workload", "protocol", "port")
LISTENER_LABELS = ("workload", "protocol", "port", "scope", "verdict")
COLLISION_LABELS = ("workload", "protocol", "port")

Labels = tuple[str, ...]


class PortMetrics:
    """Three families: violations, listeners, collisions; each of at most `max_series` series and
    the `other` ones."""

    def __init__(
        self, readings: Readings, names: Names, state: AgentState, max_series: int
    ) -> None:
        self._readings = readings
        self._names = names
        self._state = state
        self._max_series = max_series

    def collect(self) -> Iterator[Metric]:
        """Fresh families."""
        yield self._violations()
        yield from self._listeners()
        yield self._collisions()

    def _violations(self) -> Metric:
        family = CounterMetricFamily(
            "portwatch_violations",
            f"Violations, denied or recorded; past {self._max_series} series all that are new are "
            "counted under constraint, workload and port `other`.",
            labels=VIOLATION_LABELS,
        )
        kept, folded = self._oldest(self._readings.violations())
        series: Counter[Labels] = Counter()
        for entry in kept:
            constraint, workload = map(self._names.text, (entry.constraint, entry.workload))
            series[constraint, entry.verdict, workload, entry.protocol, str(entry.port)] += (
                entry.count
            )
        for (verdict, protocol), count in folded.items():
            series[OTHER_NAME, verdict, OTHER_NAME, protocol, OTHER_NAME] += count
        for labels, count in series.items():
            family.add_metric(labels, count)
        return family

    def _oldest(
        self, counts: Iterable[ViolationCount]
    ) -> tuple[list[ViolationCount], Counter[tuple[str, str]]]:
        """The first max_series that happened, in that order, and the rest by verdict and protocol;
        never more than that many at once."""
        newest_first: list[tuple[int, int, ViolationCount]] = []
        folded: Counter[tuple[str, str]] = Counter()
        for number, entry in enumerate(counts):
            if not entry.constraint and not entry.workload:
                folded[entry.verdict, entry.protocol] += entry.count
                continue
            heapq.heappush(newest_first, (-entry.first_ns, number, entry))
            if len(newest_first) > self._max_series:
                newest = heapq.heappop(newest_first)[2]
                folded[newest.verdict, newest.protocol] += newest.count
        return [entry for _, _, entry in sorted(newest_first, reverse=True)], folded

    def _collisions(self) -> Metric:
        family = CounterMetricFamily(
            "portwatch_bind_collisions",
            "Binds that the kernel failed with EADDRINUSE, by who wanted the port; past "
            f"{self._max_series} series workload and port are `other`.",
            labels=COLLISION_LABELS,
        )
        counts = (
            (
                (
                    self._names.text(key.workload),
                    layout.PROTOCOL_NAMES[key.protocol],
                    str(key.port),
                )
                if key.workload or key.port
                else None,
                (OTHER_NAME, layout.PROTOCOL_NAMES[key.protocol], OTHER_NAME),
                count,
            )
            for key, count in self._readings.collisions().items()
        )
        for labels, count in self._bounded(counts):
            family.add_metric(labels, count)
        return family

    def _listeners(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "portwatch_listeners",
            "Sockets that listen (UDP: bound, without a peer), by what the policy says of them; "
            f"past {self._max_series} series workload and port are `other`, and port is "
            "`ephemeral` where it counts as picked by the kernel.",
            labels=LISTENER_LABELS,
        )
        for labels, count in self._state.listeners:
            family.add_metric(labels, count)
        yield family
        surveyed = GaugeMetricFamily(
            "portwatch_listeners_last_survey_timestamp_seconds",
            "When what listens was last looked at with success, in seconds since the epoch.",
        )
        surveyed.add_metric((), self._state.listeners_surveyed_seconds)
        yield surveyed

    def _bounded(
        self, counts: Iterable[tuple[Labels | None, Labels, int]]
    ) -> Iterator[tuple[Labels, int]]:
        """Sums by labels; what has none, or comes after max_series others, by its second labels."""
        merged: dict[Labels, int] = {}
        folded: Counter[Labels] = Counter()
        for labels, other, count in counts:
            if labels is None or (labels not in merged and len(merged) >= self._max_series):
                folded[other] += count
            else:
                merged[labels] = merged.get(labels, 0) + count
        yield from merged.items()
        yield from folded.items()
