"""Listeners that break the policy: they were there before it, or it only records."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import GREEN, RED, YELLOW, About, AnyPanel
from grafana.graphs import lines
from grafana.queries import OUTSIDE, of, or_zero
from grafana.tables import port_table
from grafana.tiles import ODD_FROM_ONE, tile

TITLE = "Listeners that break the policy"
NONE = "Nothing listens against the policy, or no agent is scraped"
LABELS = ("instance", "workload", "protocol", "port", "scope", "verdict")
SURVEYED = of("portwatch_listeners_last_survey_timestamp_seconds")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield tile(
        "Sockets against the policy",
        "Sockets that listen now and whose next bind would be denied or recorded. Nobody "
        "closes them: they end with their process.",
        or_zero(f"sum({OUTSIDE})"),
        "PortwatchNewListenerOutsidePolicy",
        steps=ODD_FROM_ONE,
    )
    yield tile(
        "Last look",
        "How long ago the agent last looked at what listens, where it is longest ago; it does "
        "so once a minute.",
        f"max(time() - {SURVEYED})",
        "PortwatchListenersUnseen",
        unit="s",
        steps=((None, GREEN), (180, YELLOW), (600, RED)),
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
    yield port_table(
        About(
            24,
            "Who listens against the policy",
            "Each port with the scope of its address and what its next bind would get. A click on "
            "the port asks that machine's agent why.",
            no_data=NONE,
        ),
        LABELS,
        f"sum by ({', '.join(LABELS)}) ({OUTSIDE})",
        "Sockets",
        because=("workload", "protocol", "port"),
    )
