"""The dashboard: its variables, its rows, and the JSON that Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from grafana.links import RUNBOOKS
from grafana.rows import collisions, cost, guardrail, listeners, violations
from grafana.variables import VARIABLES

JSON = Path(__file__).parent / "dashboards" / "portwatch.json"
ROWS = (guardrail, violations, listeners, collisions, cost)


def dashboard_json() -> str:
    """What dashboards/portwatch.json has to be."""
    board = (
        Dashboard("portwatch")
        .uid("portwatch")
        .description("Who may bind which port, who tried to, and whether the guardrail is up.")
        .tags(["portwatch", "security", "ebpf"])
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Runbooks")
            .type(DashboardLinkType.LINK)
            .icon("doc")
            .url(RUNBOOKS)
            .target_blank(True)
        )
    )
    for variable in VARIABLES:
        board.with_variable(variable)
    number = 0
    for row in ROWS:
        number += 1
        board.with_row(Row(row.TITLE).id(number))
        for panel in row.panels():
            number += 1
            board.with_panel(panel.id(number))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
