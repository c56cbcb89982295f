"""Collisions: binds that fail because somebody has the port."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.links import explain, runbook
from grafana.panels import About, AnyPanel, bars, named, rows
from grafana.queries import COLLISIONS, counted

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
    table = rows(
        About(
            12,
            "Which port",
            "How often who failed to get which port, in the time chosen. Who has it is in the "
            "`collision` events; a click on the port asks what the policy says of it.",
            no_data=NONE,
        ),
        f"sum by ({', '.join(LABELS)}) ({counted(COLLISIONS, '$__range')}) > 0",
        order=(*LABELS, "Value"),
        value="Collisions",
    )
    table.override_by_name("Value", [named("Collisions")])
    table.override_by_name("port", [explain("workload", "protocol", "port")])
    yield table
