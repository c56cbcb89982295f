"""The metrics with a workload and a port among their labels: bounded, the rest under `other`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from portwatch.agent.metrics.families import CounterMetricFamily, GaugeMetricFamily, Metric
from portwatch.agent.metrics.oldest import Counted, OldestSeries
from portwatch.agent.state import AgentState
from portwatch.kernel import layout
from portwatch.kernel.names import OTHER_NAME, Names
from portwatch.kernel.readings import CollisionCount, Readings, ViolationCount

VIOLATION_LABELS = ("constraint", "verdict", "workload", "protocol", "port")
LISTENER_LABELS = ("workload", "protocol", "port", "scope", "verdict")
COLLISION_LABELS = ("workload", "protocol", "port")
PUBLISHED_LABELS = ("source", "protocol")
SHADOWED_LABELS = ("workload", "protocol", "port", "source")

Labels = tuple[str, ...]


class PortMetrics:
    """Three families: violations, listeners, collisions; each of at most `max_series` series and
    the `other` ones; and how many series are under `other`."""

    def __init__(
        self, readings: Readings, names: Names, state: AgentState, max_series: int
    ) -> None:
        self._readings = readings
        self._names = names
        self._state = state
        self._max_series = max_series
        self._violations_shown = OldestSeries[ViolationCount](max_series)
        self._collisions_shown = OldestSeries[CollisionCount](max_series)
        self._published_shown = OldestSeries[CollisionCount](max_series)

    def collect(self, entries: dict[str, int]) -> Iterator[Metric]:
        """Fresh families; `entries` gets how many the kernel's maps have, by map name."""
        violations, violations_folded, entries["violations"] = self._violations()
        collisions, collisions_folded, in_use = self._collisions()
        binds, binds_folded, in_vain = self._published_binds()
        entries["collisions"] = in_use + in_vain
        yield from (violations, self._listeners(), collisions, binds, *self._published())
        folded = GaugeMetricFamily(
            "portwatch_series_folded",
            "Series that --max-series has no room for, so that the metric counts them under "
            "`other`.",
            labels=("metric",),
        )
        folded.add_metric(("portwatch_violations_total",), violations_folded)
        folded.add_metric(("portwatch_listeners",), self._state.listeners_folded)
        folded.add_metric(("portwatch_bind_collisions_total",), collisions_folded)
        folded.add_metric(("portwatch_published_port_binds_total",), binds_folded)
        yield folded
        surveyed = GaugeMetricFamily(
            "portwatch_listeners_last_survey_timestamp_seconds",
            "When what listens was last looked at with success, or known to be as before, in "
            "seconds since the epoch.",
        )
        surveyed.add_metric((), self._state.listeners_surveyed_seconds)
        yield surveyed

    def _violations(self) -> tuple[Metric, int, int]:
        family = CounterMetricFamily(
            "portwatch_violations",
            f"Violations, denied or recorded; past {self._max_series} series all that are new are "
            "counted under constraint, workload and port `other`.",
            labels=VIOLATION_LABELS,
        )

        def own(entry: ViolationCount) -> Labels:
            constraint, workload = map(self._names.text, (entry.constraint, entry.workload))
            return constraint, entry.verdict, workload, entry.protocol, str(entry.port)

        def other(entry: ViolationCount) -> Labels:
            return OTHER_NAME, entry.verdict, OTHER_NAME, entry.protocol, OTHER_NAME

        return family, *_fill(
            family, self._violations_shown, self._readings.violations(), own, other
        )

    def _collisions(self) -> tuple[Metric, int, int]:
        return self._conflicts(
            "portwatch_bind_collisions",
            "Binds that the kernel failed with EADDRINUSE, by who wanted the port",
            self._collisions_shown,
            self._readings.collision_counts(),
        )

    def _published_binds(self) -> tuple[Metric, int, int]:
        return self._conflicts(
            "portwatch_published_port_binds",
            "Binds that went through on a port which a NAT rule gives to somebody else, by who "
            "bound",
            self._published_shown,
            self._readings.published_binds(),
        )

    def _conflicts(
        self,
        name: str,
        what: str,
        shown: OldestSeries[CollisionCount],
        counts: Iterable[CollisionCount],
    ) -> tuple[Metric, int, int]:
        family = CounterMetricFamily(
            name,
            f"{what}; past {self._max_series} series all that are new are counted under workload "
            "and port `other`.",
            labels=COLLISION_LABELS,
        )

        def own(entry: CollisionCount) -> Labels:
            key = entry.key
            protocol = layout.PROTOCOL_NAMES[key.protocol]
            return self._names.text(key.workload), protocol, str(key.port)

        def other(entry: CollisionCount) -> Labels:
            return OTHER_NAME, layout.PROTOCOL_NAMES[entry.key.protocol], OTHER_NAME

        return family, *_fill(family, shown, counts, own, other)

    def _listeners(self) -> Metric:
        family = GaugeMetricFamily(
            "portwatch_listeners",
            "Sockets that listen (UDP: bound, without a peer), by what the policy says of them; "
            f"past {self._max_series} series workload and port are `other`, and port is "
            "`ephemeral` where it counts as picked by the kernel.",
            labels=LISTENER_LABELS,
        )
        for labels, count in self._state.listeners:
            family.add_metric(labels, count)
        return family

    def _published(self) -> Iterator[Metric]:
        published = GaugeMetricFamily(
            "portwatch_published_ports",
            "Ports that are taken with no socket, because a NAT rule sends what comes in "
            "elsewhere, by who wrote the rule.",
            labels=PUBLISHED_LABELS,
        )
        for source, count in self._state.published:
            published.add_metric(source, count)
        shadowed = GaugeMetricFamily(
            "portwatch_listeners_published",
            "Sockets that listen on a port which a NAT rule gives to somebody else, by who wrote "
            f"the rule; past {self._max_series} series workload and port are `other`.",
            labels=SHADOWED_LABELS,
        )
        for labels, count in self._state.shadowed:
            shadowed.add_metric(labels, count)
        yield from (published, shadowed)


def _fill(
    family: CounterMetricFamily,
    shown: OldestSeries[Counted],
    counts: Iterable[Counted],
    own: Callable[[Counted], Labels],
    other: Callable[[Counted], Labels],
) -> tuple[int, int]:
    """Add what is shown under `own` labels, and the rest under `other`: how many series are among
    the rest, and how many entries there were."""
    rest: Counter[Labels] = Counter()
    entries = folded = 0

    def fold(entry: Counted) -> None:
        nonlocal folded
        folded += not entry.is_rest
        rest[other(entry)] += entry.count

    def counted() -> Iterator[Counted]:
        nonlocal entries
        for entry in counts:
            entries += 1
            yield entry

    series: Counter[Labels] = Counter()
    for entry in shown.choose(counted(), fold):
        series[own(entry)] += entry.count
    series.update(rest)
    for labels, count in series.items():
        family.add_metric(labels, count)
    return folded, entries
