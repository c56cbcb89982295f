"""Collisions: binds that fail because somebody has the port."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import About, AnyPanel
from grafana.graphs import bars
from grafana.links import runbook
from grafana.queries import COLLISIONS, counted
from grafana.tables import port_table

TITLE = "Collisions"
NONE = "No bind failed because its port was taken, or no agent is scraped"
LABELS = ("instance", "workload", "protocol", "port")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield bars(
        About(
            12,
            "By who wanted the port",
            "Binds in each interval that the kernel failed with EADDRINUSE. One now and then is a "
            "restart; a steady row is a service that cannot come up.",
            no_data=NONE,
            links=[runbook("PortwatchCollisionLoop")],
        ),
        ("{{workload}}", f"sum by (workload) ({counted(COLLISIONS, '$__interval')})"),
    )
    yield port_table(
        About(
            12,
            "Which port",
            "How often who failed to get which port, in the time chosen. Who has it is in the "
            "`collision` events; a click on the port asks what the policy says of it.",
            no_data=NONE,
        ),
        LABELS,
        f"sum by ({', '.join(LABELS)}) ({counted(COLLISIONS, '$__range')}) > 0",
        "Collisions",
        because=("workload", "protocol", "port"),
    )
