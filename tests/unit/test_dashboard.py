"""The committed dashboard: current, well formed, and of use to whoever reads it."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import yaml
from committed_queries import DASHBOARD, ROOT, alerts, board, panel_queries, panels, variables
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboard import dashboard_json
from grafana.links import RUNBOOKS

GRID_WIDTH = 24
BUILT_IN = {"__all", "__range", "__interval", "__rate_interval", "__data"}
UNITS = {"none", "s", "ops", "bytes", "percentunit"}


def titles() -> list[str]:
    """Every panel's title."""
    return [panel["title"] for panel in panels()]


def test_json_is_current() -> None:
    """What is committed is what the code makes: `make grafana` changes nothing."""
    assert DASHBOARD.read_text() == dashboard_json()


def test_json_is_of_the_schema() -> None:
    """Grafana's schema, as its SDK has it, reads the file and loses nothing of it."""
    read = Dashboard.from_json(board())
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == board()


def test_ids_are_unique() -> None:
    """No two panels or rows have one id, and no two panels one title."""
    ids = [panel["id"] for panel in board()["panels"]]
    assert len(ids) == len(set(ids))
    assert len(titles()) == len(set(titles()))


def test_nothing_overlaps() -> None:
    """Every panel has its place on the grid, within its width, and shares it with none."""
    taken: dict[tuple[int, int], str] = {}
    for panel in board()["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        assert columns.stop <= GRID_WIDTH, panel["title"]
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]
    assert len(taken) == GRID_WIDTH * (max(y for _, y in taken) + 1), "no holes"


@pytest.mark.parametrize("title", titles())
def test_panel_explains_itself(title: str) -> None:
    """Each panel has a description, a unit, a word for when there is no data, and colours."""
    (panel,) = (panel for panel in panels() if panel["title"] == title)
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["description"].endswith((".", "`")), panel["description"]
    assert len(panel["description"]) > 20
    assert defaults["unit"] in UNITS
    assert len(defaults["noValue"]) > 10
    steps = defaults["thresholds"]["steps"]
    assert steps[0]["value"] is None
    assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert {target["refId"] for target in panel["targets"]} and panel["targets"]


def test_variables_are_defined() -> None:
    """Every `$name` of the dashboard is one of its variables or Grafana's own, and all are used."""
    used = {
        first or second
        for first, second in re.findall(r"\$(?:\{(\w+)|(\w+))", DASHBOARD.read_text())
    } - BUILT_IN
    assert used == set(variables())
    for name in ("instance", "workload", "constraint"):
        assert variables()[name]["multi"] and variables()[name]["includeAll"], name


def test_rates_fit_any_zoom() -> None:
    """Every rate() has the window that Grafana reckons from the scrape interval."""
    for query in panel_queries():
        windows = re.findall(r"\brate\([^[]*\[([^]]*)\]", query.text)
        assert set(windows) <= {"$__rate_interval"}, query.key
        assert "increase(" not in query.text, "it misses a counter's first value"


def test_rows_lead_to_the_explanation() -> None:
    """In each table of ports a click asks the agent of that row's machine why."""
    asking = {title: url for title, url in data_links() if "/explain?" in url}
    assert set(asking) == {
        "By workload and port",
        "Who listens against the policy",
        "Which port",
    }
    field = "${{__data.fields.{0}:percentencode}}".format
    for title, url in asking.items():
        labels = ["workload", "protocol", "port"]
        labels += ["constraint"] if title == "By workload and port" else []
        query = "&".join(f"{label}={field(label)}" for label in labels)
        assert url == f"${{scheme}}://${{__data.fields.instance}}/explain?{query}"
        (text,) = (query.text for query in panel_queries() if query.panel == title)
        assert all(re.search(rf"sum by \([^)]*\b{label}\b", text) for label in labels)


def test_runbook_links_lead_somewhere() -> None:
    """Every runbook that a panel leads to is an alert's page."""
    pages = {f"{RUNBOOKS}{alert}.md" for alert in alerts()}
    linked = {link["url"] for panel in panels() for link in panel.get("links", [])}
    assert linked <= pages
    assert len(linked) >= 8


def test_provisioning_is_readable() -> None:
    """The provisioning files are YAML of version 1 that name a source and a folder."""
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/portwatch.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards/portwatch.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]


def data_links() -> list[tuple[str, str]]:
    """(panel, URL) of every link of a field."""
    return [
        (panel["title"], link["url"])
        for panel in panels()
        for override in panel["fieldConfig"].get("overrides", [])
        for setting in override["properties"]
        if setting["id"] == "links"
        for link in links_of(setting)
    ]


def links_of(setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The links that a property sets."""
    value: list[dict[str, Any]] = setting["value"]
    return value
