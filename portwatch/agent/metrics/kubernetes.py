"""Metrics of what the Kubernetes API server says; there only where one is asked."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.agent.kubernetes.pod_watch import PodWatch
from portwatch.agent.metrics.families import (
    Collector,
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from portwatch.node.kubernetes.follower import RESTARTS


class KubernetesCollector(Collector):
    """Whether pods are known, and how old that is."""

    def __init__(self, watch: PodWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Fresh families."""
        state = self._watch.follower.state
        yield GaugeMetricFamily(
            "portwatch_kubernetes_pods",
            "Pods of this node of which the API server has told.",
            value=self._watch.known,
        )
        yield GaugeMetricFamily(
            "portwatch_kubernetes_unknown_pods",
            "Pods with a cgroup here of which the API server has not told yet.",
            value=self._watch.unknown,
        )
        yield GaugeMetricFamily(
            "portwatch_kubernetes_watch_connected",
            "Whether the API server tells of changes now; 0: what is known of pods stays in force.",
            value=state.connected,
        )
        yield GaugeMetricFamily(
            "portwatch_kubernetes_last_contact_timestamp_seconds",
            "When the API server was last heard of, in seconds since the epoch; 0: never.",
            value=state.contact_seconds,
        )
        restarts = CounterMetricFamily(
            "portwatch_kubernetes_watch_restarts",
            "Times that a list or watch was begun anew, by why; `ended` and `gone` are usual.",
            labels=("reason",),
        )
        for reason in RESTARTS:
            restarts.add_metric((reason,), self._watch.follower.restarts[reason])
        yield restarts
        yield CounterMetricFamily(
            "portwatch_kubernetes_unreadable_objects",
            "Objects of the API server that were no pod, or too large, and were left out.",
            value=state.unreadable,
        )
        yield CounterMetricFamily(
            "portwatch_kubernetes_received_bytes",
            "Bytes of lists and watches that came from the API server.",
            value=state.received_bytes,
        )
