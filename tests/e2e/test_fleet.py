"""The fleet's dashboard on a real Prometheus that scrapes many real agents: each query answers what
the script made happen."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

import committed_queries as committed
import pytest
from expected_answers import Between, series
from fleet import RECORDED, Fleet, living_fleet
from prometheus_server import Labels

from portwatch import __version__

HOUR = {"__range": "1h", "__interval": "1h"}
QUERIES = committed.panel_queries(committed.FLEET)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for all tests, which only ask."""
    with living_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


def expected(fleet: Fleet) -> dict[str, Mapping[Labels, Any]]:
    """PANEL/REF → what is there once every part is played."""
    at = {role: fleet.by_role(role) for role in ("records", "broken", "down", "away", "next")}
    refused = fleet.by_role("refused")
    nothing = series()
    known = [node for node in fleet.nodes if node.role != "away"]
    told = [node for node in known if node.role != "down"]
    ordinary = len(told) - 3  # but for those that record, are broken, or have the next policy
    source = {node.number: str(node.sandbox.folder / "policy.yaml") for node in fleet.nodes}

    def policy(number: int) -> Labels:
        node = fleet.nodes[number]
        mode = "record" if node.role == "records" else "enforce"
        return series(sha256=node.sha256, mode=mode, source=source[number])

    reserved = {"workload": "shop", "constraint": "reserved"}
    trial = {"workload": "batch", "constraint": "trial", "verdict": "recorded"}
    denied = sum(node.denied for node in told)
    recorded = sum(node.recorded for node in told)
    with_batch = [node for node in told if node.recorded]
    by_node = {node.instance: node.denied + node.shop_recorded + node.recorded for node in told}
    most = dict(sorted(by_node.items(), key=lambda item: -item[1])[:10])
    only_shop = at["records"].shop_recorded
    hashes = {node.sha256: 0 for node in told}
    for node in told:
        hashes[node.sha256] += 1
    common = max(hashes, key=lambda one: hashes[one])
    return {
        "Nodes/A": {nothing: len(known)},
        "Enforcing/A": {nothing: ordinary + 1},
        "Only recording/A": {nothing: 1},
        "Not able to enforce/A": {nothing: 1},
        "Not scraped/A": {nothing: 1},
        "Targets that went away/A": {nothing: 1},
        "Nodes that do not enforce/A": {
            series(
                instance=at["down"].instance, reason="not scraped: what it enforced stays, unseen"
            ): 0,
            series(instance=at["away"].instance, reason="no target any more: is the node gone?"): 1,
            series(
                instance=at["broken"].instance, reason="the policy says enforce, and it cannot"
            ): 0,
            series(instance=at["records"].instance, reason="its policy only records"): 0,
        },
        "Nodes over time/A": {nothing: ordinary + 1},
        "Nodes over time/B": {nothing: 1},
        "Nodes over time/C": {nothing: 1},
        "Nodes over time/D": {nothing: 1},
        "Policies in flight/A": {nothing: len(hashes)},
        "Refused/A": {nothing: 1},
        "Nodes by policy/A": {series(sha256=one): count for one, count in hashes.items()},
        "Policies/A": {policy(node.number): 1 for node in told},
        "Policies/B": {policy(node.number): Between(0, 600) for node in told},
        "Versions of portwatch/A": {
            series(version=__version__, kernel=platform.release()): len(told)
        },
        "Nodes with another policy than most/A": {
            policy(node.number) | series(instance=node.instance): 1
            for node in told
            if node.sha256 != common
        },
        "Nodes that refused a policy/A": {series(instance=refused.instance): Between(0, 600)},
        "Top workloads/A": {
            series(workload="shop"): denied + only_shop,
            series(workload="batch"): recorded,
        },
        "Top nodes/A": {series(instance=one): count for one, count in most.items()},
        "Violations of the fleet/A": {
            series(verdict="denied"): denied,
            series(verdict="recorded"): recorded + only_shop,
        },
        "Workloads, and on how many nodes/A": {
            series(**reserved, verdict="denied"): denied,
            series(**reserved, verdict="recorded"): only_shop,
            series(**trial): RECORDED * len(with_batch),
        },
        "Workloads, and on how many nodes/B": {
            series(**reserved, verdict="denied"): len(told) - 1,
            series(**reserved, verdict="recorded"): 1,
            series(**trial): len(with_batch),
        },
    }


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.key)
def test_panel(fleet: Fleet, query: committed.PanelQuery) -> None:
    """Every query answers what the script knows to be right, and no more."""
    answer = fleet.prometheus.query(committed.filled(query.text, **HOUR), fleet.parts_at)
    assert answer == expected(fleet)[query.key]


def test_every_panel_is_expected(fleet: Fleet) -> None:
    """The script's answers are those of the panels, one for each query."""
    assert sorted(expected(fleet)) == sorted(query.key for query in QUERIES)


def test_nothing_is_wrong_at_first(fleet: Fleet) -> None:
    """Before the parts are played every node is scraped, and all but the recording one enforce."""
    asked = {query.panel: committed.filled(query.text, **HOUR) for query in QUERIES}
    for panel, count in (
        ("Nodes", len(fleet.nodes)),
        ("Enforcing", len(fleet.nodes) - 1),
        ("Not able to enforce", 0),
        ("Not scraped", 0),
        ("Targets that went away", 0),
        ("Refused", 0),
    ):
        answer = fleet.prometheus.query(asked[panel], fleet.binds_at)
        assert answer == {series(): count}, panel
