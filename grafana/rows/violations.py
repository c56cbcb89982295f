"""Violations by constraint, workload and port."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.links import explain, runbook
from grafana.panels import (
    COLOURED_CELL,
    GREEN,
    RED,
    YELLOW,
    About,
    AnyPanel,
    bars,
    lines,
    mapped,
    named,
    number,
    ranking,
    rows,
)
from grafana.queries import BINDS, DENIED, RECORDED, VIOLATIONS, counted, or_zero, rate

TITLE = "Violations by constraint, workload and port"
NONE = "No violation in this time, or no agent is scraped"
IN_RANGE = counted(VIOLATIONS, "$__range")
VERDICTS = {"denied": ("denied", RED), "recorded": ("recorded", YELLOW)}
LABELS = ("instance", "workload", "protocol", "port", "constraint", "verdict")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield number(
        About(
            4,
            "Denied",
            "Binds that portwatch refused in the time chosen, counted exactly.",
            steps=((None, GREEN), (1, RED)),
            links=[runbook("PortwatchViolationsBurst")],
        ),
        or_zero(f"sum({counted(DENIED, '$__range')})"),
    )
    yield number(
        About(
            4,
            "Recorded",
            "Binds against the policy that went through in the time chosen, counted exactly.",
            steps=((None, GREEN), (1, YELLOW)),
            links=[runbook("PortwatchViolationsBurst")],
        ),
        or_zero(f"sum({counted(RECORDED, '$__range')})"),
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
    table = rows(
        About(
            24,
            "By workload and port",
            "Who broke what, how often in the time chosen. A click on a row's port asks that "
            "machine's agent why; `other` is what did not fit its --max-series.",
            no_data=NONE,
            links=[runbook("PortwatchNewViolation"), runbook("PortwatchSeriesFolded")],
        ),
        f"sum by ({', '.join(LABELS)}) ({IN_RANGE}) > 0",
        order=(*LABELS, "Value"),
        value="Violations",
    )
    table.override_by_name("Value", [named("Violations")])
    table.override_by_name("verdict", [mapped(VERDICTS), COLOURED_CELL])
    table.override_by_name("port", [explain("workload", "protocol", "port", "constraint")])
    yield table
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
