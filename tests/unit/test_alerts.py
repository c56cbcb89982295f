"""The committed alerts: each says how grave it is, what happened, and where to read on."""

from __future__ import annotations

import pytest
from committed_queries import ROOT, RULE_TESTS, alerts

from grafana.links import RUNBOOKS

PAGES = ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "Look first", "Mend", "Silence"]


@pytest.mark.parametrize("name", list(alerts()))
def test_alert_is_complete(name: str) -> None:
    """A severity, a summary with a value or a name in it, a description, and its runbook's URL."""
    rule = alerts()[name]
    assert name.startswith("Portwatch")
    grave = rule["labels"]["severity"]
    assert grave in {"critical", "warning", "info"} or "warning{{ else }}info" in grave
    notes = rule["annotations"]
    assert "{{ $" in notes["summary"] or "{{ with $" in notes["summary"]
    assert notes["description"].rstrip().endswith((".", "}}"))
    assert notes["runbook_url"] == f"{RUNBOOKS}{name}.md"


@pytest.mark.parametrize("name", list(alerts()))
def test_alert_has_a_runbook(name: str) -> None:
    """Its page says what it means, what to look at first, how to mend it and when to silence it."""
    text = (PAGES / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == SECTIONS


def test_no_runbook_without_an_alert() -> None:
    """A page in docs/runbooks is of an alert that there is."""
    assert {page.stem for page in PAGES.glob("*.md")} == set(alerts())


def test_every_alert_is_tested() -> None:
    """promtool's tests name every alert."""
    text = RULE_TESTS.read_text()
    assert [name for name in alerts() if name not in text] == []


def test_every_alert_is_in_the_overview() -> None:
    """docs/monitoring.md lists each alert with its severity and leads to its page."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    for name, rule in alerts().items():
        severity = rule["labels"]["severity"]
        said = "warning, recorded: info" if "{{" in severity else severity
        assert f"| [{name}](runbooks/{name}.md) | {said} |" in text, name
