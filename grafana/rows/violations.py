"""Violations by constraint, workload and port."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import About, AnyPanel
from grafana.graphs import bars, lines, ranking
from grafana.links import runbook
from grafana.queries import BINDS, DENIED, RECORDED, VIOLATIONS, counted, or_zero, rate
from grafana.tables import port_table
from grafana.tiles import BAD_FROM_ONE, ODD_FROM_ONE, tile

TITLE = "Violations by constraint, workload and port"
NONE = "No violation in this time, or no agent is scraped"
IN_RANGE = counted(VIOLATIONS, "$__range")
LABELS = ("instance", "workload", "protocol", "port", "constraint", "verdict")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield tile(
        "Denied",
        "Binds that portwatch refused in the time chosen, counted exactly.",
        or_zero(f"sum({counted(DENIED, '$__range')})"),
        "PortwatchViolationsBurst",
        steps=BAD_FROM_ONE,
        height=8,
    )
    yield tile(
        "Recorded",
        "Binds against the policy that went through in the time chosen, counted exactly.",
        or_zero(f"sum({counted(RECORDED, '$__range')})"),
        "PortwatchViolationsBurst",
        steps=ODD_FROM_ONE,
        height=8,
    )
    yield bars(
        About(
            16,
            "By constraint",
            "Violations in each interval, by the constraint that they broke.",
            no_data=NONE,
        ),
        (
            "{{constraint}} ({{verdict}})",
            f"sum by (constraint, verdict) ({counted(VIOLATIONS, '$__interval')})",
        ),
    )
    yield port_table(
        About(
            24,
            "By workload and port",
            "Who broke what, how often in the time chosen. A click on a row's port asks that "
            "machine's agent why; `other` is what did not fit its --max-series.",
            no_data=NONE,
            links=[runbook("PortwatchNewViolation"), runbook("PortwatchSeriesFolded")],
        ),
        LABELS,
        f"sum by ({', '.join(LABELS)}) ({IN_RANGE}) > 0",
        "Violations",
        because=("workload", "protocol", "port", "constraint"),
    )
    yield ranking(
        About(8, "Workloads", "The ten with most violations in the time chosen.", no_data=NONE),
        f"topk(10, sum by (workload) ({IN_RANGE}) > 0)",
        "{{workload}}",
    )
    yield ranking(
        About(8, "Ports", "The ten with most violations in the time chosen.", no_data=NONE),
        f"topk(10, sum by (protocol, port) ({IN_RANGE}) > 0)",
        "{{port}}/{{protocol}}",
    )
    yield lines(
        About(
            8,
            "Binds judged",
            "All binds, by portwatch's verdict, whether or not the kernel then granted them.",
            unit="ops",
        ),
        ("{{verdict}}", f"sum by (verdict) ({rate(BINDS)})"),
    )
