"""Which policies are in force where, while one is being rolled out."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import GREEN, YELLOW, About, AnyPanel
from grafana.fleet.nodes import UP
from grafana.graphs import lines, ranking
from grafana.links import closely, runbook
from grafana.queries import counted_nodes, of
from grafana.tables import HIDDEN, in_unit, named, rows
from grafana.tiles import BAD_FROM_ONE, tile

TITLE = "Which policies are in flight?"
POLICY = of("portwatch_policy_info")
REFUSED = f"{of('portwatch_policy_last_load_successful')} == 0"
LOADED_AT = of("portwatch_policy_last_load_success_timestamp_seconds")
BUILD = of("portwatch_build_info")
MOST = f"topk(1, count by (sha256) ({POLICY}))"


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield tile(
        "Policies in flight",
        "How many different policies are in force, by their hash: 1, once a roll-out is through.",
        f"count(count by (sha256) ({POLICY}))",
        steps=((None, GREEN), (2, YELLOW)),
        height=8,
    )
    yield tile(
        "Refused",
        "Nodes that refused the policy they were given last, and keep the one before.",
        counted_nodes(REFUSED, UP),
        "PortwatchPolicyRefused",
        steps=BAD_FROM_ONE,
        height=8,
    )
    yield lines(
        About(
            16,
            "Nodes by policy",
            "How many nodes have each policy in force, by its hash: a roll-out as it goes.",
            no_data="No agent is scraped",
        ),
        ("{{sha256}}", f"count by (sha256) ({POLICY})"),
    )
    policies = rows(
        About(
            12,
            "Policies",
            "Each policy in force, on how many nodes, and since when on the first of them.",
            no_data="No agent is scraped",
            height=7,
        ),
        f"count by (sha256, mode, source) ({POLICY})",
        f"max by (sha256, mode, source) "
        f"({POLICY} * on (instance) group_left () (time() - {LOADED_AT}))",
        order=("sha256", "mode", "source", "Value #A", "Value #B"),
        value="Nodes",
    )
    policies.override_by_name("Value #A", [named("Nodes")])
    policies.override_by_name("Value #B", [named("Oldest load"), in_unit("s")])
    yield policies
    yield ranking(
        About(
            12,
            "Versions of portwatch",
            "On how many nodes each version runs, and on which kernel.",
            no_data="No agent is scraped",
            height=7,
        ),
        f"count by (version, kernel) ({BUILD})",
        "{{version}} on {{kernel}}",
    )
    others = rows(
        About(
            12,
            "Nodes with another policy than most",
            "Where a roll-out has not come yet, or has come first.",
            no_data="All nodes have the same policy, or no agent is scraped",
            height=7,
        ),
        f"max by (instance, sha256, mode, source) ({POLICY} unless on (sha256) {MOST})",
        order=("instance", "sha256", "mode", "source", "Value"),
        value="sha256",
    )
    others.override_by_name("instance", [closely()])
    others.override_by_name("Value", [HIDDEN])
    yield others
    refused = rows(
        About(
            12,
            "Nodes that refused a policy",
            "And how old the policy is that they keep. Their logs have every error with its place.",
            no_data="No node refused a policy, or no agent is scraped",
            links=[runbook("PortwatchPolicyRefused")],
            height=7,
        ),
        f"max by (instance) (time() - {LOADED_AT} and on (instance) {REFUSED})",
        order=("instance", "Value"),
        value="Keeps a policy of",
    )
    refused.override_by_name("instance", [closely()])
    refused.override_by_name("Value", [named("Keeps a policy of"), in_unit("s")])
    yield refused
