"""The committed dashboards: current, well formed, and of use to whoever reads them."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from committed_queries import (
    DASHBOARD,
    FLEET,
    ROOT,
    alerts,
    board,
    panel_queries,
    panels,
    variables,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboard import BOARDS
from grafana.links import RUNBOOKS

GRID_WIDTH = 24
BUILT_IN = {"__all", "__range", "__interval", "__rate_interval", "__data"}
UNITS = {"none", "s", "ops", "bytes", "percentunit"}


each_board = pytest.mark.parametrize("path", [DASHBOARD, FLEET], ids=lambda path: path.stem)


def every_panel() -> list[Any]:
    """Each panel of each dashboard."""
    return [
        pytest.param(panel, id=f"{path.stem}-{panel['title']}")
        for path in (DASHBOARD, FLEET)
        for panel in panels(path)
    ]


def test_json_is_current() -> None:
    """What is committed is what the code makes: `make grafana` changes nothing."""
    assert {board.path for board in BOARDS} == set(DASHBOARD.parent.glob("*.json"))
    for one in BOARDS:
        assert one.path.read_text() == one.json(), one.name


@each_board
def test_json_is_of_the_schema(path: Path) -> None:
    """Grafana's schema, as its SDK has it, reads the file and loses nothing of it."""
    read = Dashboard.from_json(board(path))
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == board(path)


@each_board
def test_ids_are_unique(path: Path) -> None:
    """No two panels or rows have one id, and no two panels one title."""
    ids = [panel["id"] for panel in board(path)["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels(path)]
    assert len(titles) == len(set(titles))


@each_board
def test_nothing_overlaps(path: Path) -> None:
    """Every panel has its place on the grid, within its width, and shares it with none."""
    taken: dict[tuple[int, int], str] = {}
    for panel in board(path)["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        assert columns.stop <= GRID_WIDTH, panel["title"]
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]
    assert len(taken) == GRID_WIDTH * (max(y for _, y in taken) + 1), "no holes"


@pytest.mark.parametrize("panel", every_panel())
def test_panel_explains_itself(panel: dict[str, Any]) -> None:
    """Each panel has a description, a unit, a word for when there is no data, and colours."""
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


@each_board
def test_variables_are_defined(path: Path) -> None:
    """Every `$name` of the dashboard is one of its variables or Grafana's own, and all are used."""
    used = {
        first or second for first, second in re.findall(r"\$(?:\{(\w+)|(\w+))", path.read_text())
    } - BUILT_IN
    assert used == set(variables(path))
    for name in used - {"datasource", "scheme"}:
        assert variables(path)[name]["multi"] and variables(path)[name]["includeAll"], name


@each_board
def test_rates_fit_any_zoom(path: Path) -> None:
    """Every rate() has the window that Grafana reckons from the scrape interval."""
    for query in panel_queries(path):
        windows = re.findall(r"\brate\([^[]*\[([^]]*)\]", query.text)
        assert set(windows) <= {"$__rate_interval"}, query.key
        assert "increase(" not in query.text, "it misses a counter's first value"


def test_fleet_leads_to_the_agent() -> None:
    """From each table of nodes a click looks at that node's agent in the other dashboard."""
    leading = {title for title, url in data_links(FLEET) if url.startswith("/d/portwatch?")}
    assert leading == {
        "Nodes that do not enforce",
        "Nodes with another policy than most",
        "Nodes that refused a policy",
    }
    assert board()["uid"] == "portwatch"
    assert "var-instance=${__data.fields.instance:percentencode}" in FLEET.read_text()


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
    for path, most in ((DASHBOARD, 8), (FLEET, 4)):
        linked = {link["url"] for panel in panels(path) for link in panel.get("links", [])}
        assert linked <= pages
        assert len(linked) >= most


def test_provisioning_is_readable() -> None:
    """The provisioning files are YAML of version 1 that name a source and a folder."""
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/portwatch.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards/portwatch.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]


def data_links(path: Path = DASHBOARD) -> list[tuple[str, str]]:
    """(panel, URL) of every link of a field."""
    return [
        (panel["title"], link["url"])
        for panel in panels(path)
        for override in panel["fieldConfig"].get("overrides", [])
        for setting in override["properties"]
        if setting["id"] == "links"
        for link in links_of(setting)
    ]


def links_of(setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The links that a property sets."""
    value: list[dict[str, Any]] = setting["value"]
    return value
