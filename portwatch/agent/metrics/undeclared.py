"""Binds on the node's network outside of what the pod declares: the kernel's own counts of
violations, those of constraints that hold pods to `declared`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from portwatch.agent.live_policy import Published
from portwatch.agent.metrics.families import Collector, CounterMetricFamily, Metric
from portwatch.kernel.names import Names
from portwatch.kernel.readings import Readings
from portwatch.policy.model import Policy

LABELS = ("constraint", "namespace", "verdict")
UNKNOWN = "unknown"
POD = "pod:"


class UndeclaredCollector(Collector):
    """One family, whose series are as many as the policy's constraints with the word, times the
    namespaces that break them."""

    def __init__(
        self, readings: Readings, names: Names, live: Callable[[], Published | None]
    ) -> None:
        self._readings = readings
        self._names = names
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """The family; without series where the policy in force holds nobody to what is declared."""
        family = CounterMetricFamily(
            "portwatch_host_network_undeclared_binds",
            "Binds on the host's network outside of the ports that the pod declares, denied or "
            "recorded by a constraint of the policy in force that allows `declared`, by the pod's "
            "namespace.",
            labels=LABELS,
        )
        live = self._live()
        wanted = constraints_of(live.policy) if live else frozenset()
        counts: Counter[tuple[str, ...]] = Counter()
        for entry in self._readings.violations() if wanted else ():
            name = self._names.text(entry.constraint)
            if name in wanted:
                namespace = namespace_of(self._names.text(entry.workload))
                counts[name, namespace, entry.verdict] += entry.count
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family


def constraints_of(policy: Policy) -> frozenset[str]:
    """The constraints that are about the host's network and allow what is declared."""
    return frozenset(
        one.name for one in policy.constraints if one.network == "host" and one.allow.declared
    )


def namespace_of(workload: str) -> str:
    """Of a pod that is called after itself; what a definition names, and what is no known pod, has
    none."""
    namespace, slash, _ = workload.removeprefix(POD).partition("/")
    return namespace if workload.startswith(POD) and slash else UNKNOWN
