"""Listeners that break the policy: they were there before it, or it only records."""

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
    lines,
    mapped,
    named,
    number,
    rows,
)
from grafana.queries import OUTSIDE, of, or_zero
from grafana.rows.violations import VERDICTS

TITLE = "Listeners that break the policy"
NONE = "Nothing listens against the policy, or no agent is scraped"
LABELS = ("instance", "workload", "protocol", "port", "scope", "verdict")
SURVEYED = of("portwatch_listeners_last_survey_timestamp_seconds")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield number(
        About(
            4,
            "Sockets against the policy",
            "Sockets that listen now and whose next bind would be denied or recorded. Nobody "
            "closes them: they end with their process.",
            steps=((None, GREEN), (1, YELLOW)),
            links=[runbook("PortwatchNewListenerOutsidePolicy")],
            height=4,
        ),
        or_zero(f"sum({OUTSIDE})"),
    )
    yield number(
        About(
            4,
            "Last look",
            "How long ago the agent last looked at what listens, where it is longest ago; it does "
            "so once a minute.",
            unit="s",
            steps=((None, GREEN), (180, YELLOW), (600, RED)),
            links=[runbook("PortwatchListenersUnseen")],
            height=4,
        ),
        f"max(time() - {SURVEYED})",
    )
    yield lines(
        About(
            16,
            "By workload",
            "Sockets that listen against the policy, over time.",
            no_data=NONE,
            height=4,
        ),
        ("{{workload}}", f"sum by (workload) ({OUTSIDE})"),
    )
    table = rows(
        About(
            24,
            "Who listens against the policy",
            "Each port with the scope of its address and what its next bind would get. A click on "
            "the port asks that machine's agent why.",
            no_data=NONE,
        ),
        f"sum by ({', '.join(LABELS)}) ({OUTSIDE})",
        order=(*LABELS, "Value"),
        value="Sockets",
    )
    table.override_by_name("Value", [named("Sockets")])
    table.override_by_name("verdict", [mapped(VERDICTS), COLOURED_CELL])
    table.override_by_name("port", [explain("workload", "protocol", "port")])
    yield table
