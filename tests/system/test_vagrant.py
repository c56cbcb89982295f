"""What `vagrant up` provisions: sample services, and a Prometheus that knows of them."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit import eventually, metric

CASES = Path(__file__).parents[2] / "deploy" / "vagrant" / "cases.yaml"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
WITHIN = 120

VIOLATIONS = [
    (case["constraint"], case["expect"], str(case["bind"]))
    for case in yaml.safe_load(CASES.read_text())["cases"]
    if case["expect"] != "allowed"
]


def ask(path: str, **query: str) -> Any:
    """Prometheus' answer."""
    address = f"{PROMETHEUS}/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {"result": [], "alerts": []}  # it is still starting


@pytest.mark.parametrize(("constraint", "verdict", "port"), VIOLATIONS)
def test_promised_violations(constraint: str, verdict: str, port: str) -> None:
    """Each violation that cases.yaml promises is counted, by the agent and by Prometheus."""
    labels = {"constraint": constraint, "verdict": verdict, "port": port}
    eventually(lambda: metric("portwatch_violations_total", **labels) >= 1, WITHIN, str(labels))
    selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
    query = f"sum(portwatch_violations_total{{{selector}}}) >= 1"
    eventually(lambda: ask("query", query=query)["result"], WITHIN, query)


def test_collisions() -> None:
    """The canary, on a port that is taken, collides."""
    eventually(lambda: metric("portwatch_bind_collisions_total", port="8080") >= 1, WITHIN)
    query = 'portwatch_bind_collisions_total{port="8080"} >= 1'
    eventually(lambda: ask("query", query=query)["result"], WITHIN, query)


def test_an_alert() -> None:
    """The violations raise their alert."""

    def raised() -> set[str]:
        return {one["labels"]["alertname"] for one in ask("alerts")["alerts"]}

    eventually(lambda: "PortwatchNewViolation" in raised(), WITHIN, "PortwatchNewViolation")
