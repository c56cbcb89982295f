"""The dashboards: one to look at agents closely, one for a fleet of them."""

from __future__ import annotations

from grafana.board import Board
from grafana.fleet import nodes, policies, workloads
from grafana.links import dashboard_link, runbooks_link
from grafana.rows import collisions, cost, guardrail, listeners, violations
from grafana.variables import FLEET_VARIABLES, VARIABLES

CLOSE = Board(
    "portwatch",
    "Who may bind which port, who tried to, and whether the guardrail is up.",
    VARIABLES,
    (guardrail, violations, listeners, collisions, cost),
    [runbooks_link()],
)
FLEET = Board(
    "portwatch-fleet",
    "Which nodes do not enforce, which policies are in flight, and who breaks them, on all nodes.",
    FLEET_VARIABLES,
    (nodes, policies, workloads),
    [dashboard_link("portwatch", "One agent closely"), runbooks_link()],
)
BOARDS = (CLOSE, FLEET)
