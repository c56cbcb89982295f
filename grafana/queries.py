"""PromQL: what a panel asks of Prometheus, with the dashboard's variables in it."""

from __future__ import annotations

INSTANCE = 'instance=~"$instance"'
WORKLOAD = 'workload=~"$workload"'
CONSTRAINT = 'constraint=~"$constraint"'

BINDS = f"portwatch_binds_total{{{INSTANCE}}}"
VIOLATIONS = f"portwatch_violations_total{{{INSTANCE}, {CONSTRAINT}, {WORKLOAD}}}"
DENIED = VIOLATIONS.replace("}", ', verdict="denied"}')
RECORDED = VIOLATIONS.replace("}", ', verdict="recorded"}')
LISTENERS = f"portwatch_listeners{{{INSTANCE}, {WORKLOAD}}}"
OUTSIDE = f'portwatch_listeners{{{INSTANCE}, {WORKLOAD}, verdict!="allowed"}}'
COLLISIONS = f"portwatch_bind_collisions_total{{{INSTANCE}, {WORKLOAD}}}"


def of(metric: str) -> str:
    """A metric of the chosen instances."""
    return f"{metric}{{{INSTANCE}}}"


def counted(series: str, window: str) -> str:
    """How far each counter has come in the last `window`, exactly.

    increase() misses the first value of a counter that comes into being, which for a violation is
    the one that matters, and extrapolates the rest. The hour of last_over_time() bridges an agent
    that was being restarted at the window's beginning. A counter that is less than it was has begun
    anew: then all of it counts.
    """
    return f"({series} - last_over_time({series}[1h] offset {window}) >= 0 or {series})"


def rate(series: str) -> str:
    """Its rate per second."""
    return f"rate({series}[$__rate_interval])"


def or_zero(query: str) -> str:
    """`query`, a sum, or 0 where there is nothing to sum but an agent that would have told."""
    return f"{query} or 0 * sum({of('portwatch_enforcing')})"


def counted_nodes(query: str, known: str) -> str:
    """How many instances `query` has a series of; 0 where it has none of the `known` ones."""
    return f"count(count by (instance) ({query})) or 0 * count({known})"
