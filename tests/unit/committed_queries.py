"""What the committed dashboards and alerts ask of Prometheus, with a dashboard's variables filled.

Read from the JSON and the YAML that users get, not from what they were made with.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "grafana" / "dashboards" / "portwatch.json"
FLEET = DASHBOARD.with_name("portwatch-fleet.json")
RULES = ROOT / "deploy" / "prometheus" / "portwatch.rules.yaml"
RULE_TESTS = RULES.with_suffix(".test.yaml")
SCRAPE_CONFIG = RULES.with_name("prometheus.yaml")

OF_PORTWATCH = re.compile(r"\b(?:portwatch|process)_\w+")
OF_PROMETHEUS = {"up", "scrape_duration_seconds"}


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel, as committed."""

    panel: str
    ref: str
    text: str

    @property
    def key(self) -> str:
        """`PANEL/REF`."""
        return f"{self.panel}/{self.ref}"


def board(path: Path = DASHBOARD) -> dict[str, Any]:
    """A committed dashboard."""
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def panels(path: Path = DASHBOARD) -> list[dict[str, Any]]:
    """Its panels, rows left out."""
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def panel_queries(path: Path = DASHBOARD) -> list[PanelQuery]:
    """Every query of every panel."""
    return [
        PanelQuery(panel["title"], target["refId"], target["expr"])
        for panel in panels(path)
        for target in panel["targets"]
    ]


def variables(path: Path = DASHBOARD) -> dict[str, dict[str, Any]]:
    """The dashboard's variables by name."""
    return {variable["name"]: variable for variable in board(path)["templating"]["list"]}


def alerts() -> dict[str, dict[str, Any]]:
    """The committed alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def filled(text: str, **values: str) -> str:
    """The query with `$name` replaced as Grafana does it; nothing of the kind may be left."""
    given = {"instance": ".*", "workload": ".*", "constraint": ".*", **values}
    done = re.sub(r"\$(\w+)", lambda name: given[name[1]], text)
    assert "$" not in done, done
    return done
