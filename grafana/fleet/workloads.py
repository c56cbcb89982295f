"""Who breaks the policy, summed up over all nodes."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import About, AnyPanel
from grafana.graphs import bars, ranking
from grafana.links import runbook
from grafana.queries import INSTANCE, counted
from grafana.tables import COLOURED_CELL, VERDICTS, mapped, named, rows

TITLE = "Which workloads break it?"
NONE = "No violation in this time, or no agent is scraped"
VIOLATIONS = f"portwatch_violations_total{{{INSTANCE}}}"
IN_RANGE = counted(VIOLATIONS, "$__range")
LABELS = "workload, constraint, verdict"


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield ranking(
        About(
            8,
            "Top workloads",
            "The ten with most violations in the time chosen, over all nodes.",
            no_data=NONE,
        ),
        f"topk(10, sum by (workload) ({IN_RANGE}) > 0)",
        "{{workload}}",
    )
    yield ranking(
        About(
            8,
            "Top nodes",
            "The ten with most violations in the time chosen, of all workloads.",
            no_data=NONE,
        ),
        f"topk(10, sum by (instance) ({IN_RANGE}) > 0)",
        "{{instance}}",
    )
    yield bars(
        About(
            8,
            "Violations of the fleet",
            "How many in each interval, by verdict.",
            no_data=NONE,
        ),
        ("{{verdict}}", f"sum by (verdict) ({counted(VIOLATIONS, '$__interval')})"),
    )
    table = rows(
        About(
            24,
            "Workloads, and on how many nodes",
            "Who broke which constraint in the time chosen. On every node: a policy that does not "
            "fit the workload. On one node alone: something about that node, or an intruder.",
            no_data=NONE,
            links=[runbook("PortwatchNewViolation"), runbook("PortwatchViolationsBurst")],
        ),
        f"sum by ({LABELS}) ({IN_RANGE}) > 0",
        f"count by ({LABELS}) (sum by (instance, {LABELS}) ({IN_RANGE}) > 0)",
        order=(*LABELS.split(", "), "Value #A", "Value #B"),
        value="Violations",
    )
    table.override_by_name("Value #A", [named("Violations")])
    table.override_by_name("Value #B", [named("Nodes")])
    table.override_by_name("verdict", [mapped(VERDICTS), COLOURED_CELL])
    yield table
