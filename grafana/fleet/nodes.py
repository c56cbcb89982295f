"""Which nodes do not enforce, and why."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import GREEN, RED, YELLOW, About, AnyPanel
from grafana.graphs import lines
from grafana.links import closely, runbook
from grafana.queries import INSTANCE, counted_nodes, of
from grafana.tables import HIDDEN, rows
from grafana.tiles import BAD_FROM_ONE, ODD_FROM_ONE, tile

TITLE = "Which nodes do not enforce?"
UP = f'up{{job="portwatch", {INSTANCE}}}'
ENFORCING = of("portwatch_enforcing")
RECORDS = f'portwatch_policy_info{{{INSTANCE}, mode="record"}}'
ONLY_RECORDING = f"{ENFORCING} == 0 and on (instance) {RECORDS}"
BROKEN = f"{ENFORCING} == 0 unless on (instance) {RECORDS}"
NO_TARGET = f"last_over_time({UP}[1h]) unless on (instance) {UP}"
REASONS = {
    "not scraped: what it enforced stays, unseen": f"{UP} == 0",
    "no target any more: is the node gone?": NO_TARGET,
    "the policy says enforce, and it cannot": BROKEN,
    "its policy only records": ONLY_RECORDING,
}


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield tile(
        "Nodes",
        "Agents that Prometheus knows of, reached or not.",
        f"count({UP})",
    )
    yield tile(
        "Enforcing",
        "Nodes where a bind can be denied now.",
        counted_nodes(f"{ENFORCING} == 1", UP),
        "PortwatchNotEnforcing",
        steps=((None, RED), (1, GREEN)),
    )
    yield tile(
        "Only recording",
        "Nodes whose policy denies nothing, which is how one is tried out.",
        counted_nodes(ONLY_RECORDING, UP),
        "PortwatchNotEnforcing",
        steps=ODD_FROM_ONE,
    )
    yield tile(
        "Not able to enforce",
        "Nodes whose policy says enforce, and where a hook is gone.",
        counted_nodes(BROKEN, UP),
        "PortwatchNotEnforcing",
        steps=BAD_FROM_ONE,
    )
    yield tile(
        "Not scraped",
        "Nodes whose agent Prometheus cannot reach. The kernel goes on enforcing there, and nobody "
        "sees what.",
        counted_nodes(f"{UP} == 0", UP),
        "PortwatchAgentDown",
        steps=BAD_FROM_ONE,
    )
    yield tile(
        "Targets that went away",
        "Nodes that were a target within the hour and are none now: drained, or their pod is "
        "missing.",
        counted_nodes(NO_TARGET, UP),
        "PortwatchAgentDown",
        steps=ODD_FROM_ONE,
    )
    yield _not_enforcing()
    yield lines(
        About(
            12,
            "Nodes over time",
            "How many enforce, only record, cannot enforce, or are not scraped.",
            no_data="No agent is scraped",
            links=[runbook("PortwatchNotEnforcing")],
        ),
        ("enforcing", counted_nodes(f"{ENFORCING} == 1", UP)),
        ("only recording", counted_nodes(ONLY_RECORDING, UP)),
        ("not able to", counted_nodes(BROKEN, UP)),
        ("not scraped", counted_nodes(f"{UP} == 0", UP)),
    )


def _not_enforcing() -> AnyPanel:
    query = " or ".join(
        f'label_replace(max by (instance) ({series}), "reason", "{reason}", "", "")'
        for reason, series in REASONS.items()
    )
    panel = rows(
        About(
            12,
            "Nodes that do not enforce",
            "Each with the reason. A click on a node looks at its agent closely.",
            no_data="Every node enforces, or no agent is known",
            steps=((None, YELLOW),),
            links=[runbook("PortwatchNotEnforcing"), runbook("PortwatchAgentDown")],
        ),
        query,
        order=("instance", "reason", "Value"),
        value="reason",
    )
    panel.override_by_name("instance", [closely()])
    panel.override_by_name("Value", [HIDDEN])
    return panel
