"""Where a panel leads: the agent's explanation of one bind, its pages, the runbooks."""

from __future__ import annotations

from urllib.parse import urlencode

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DynamicConfigValue

RUNBOOKS = "https://runbooks.example/portwatch/"


def runbook(alert: str) -> DashboardLink:
    """The page of an alert, in a panel's corner."""
    return (
        DashboardLink(f"Runbook: {alert}")
        .type(DashboardLinkType.LINK)
        .url(f"{RUNBOOKS}{alert}.md")
        .target_blank(True)
    )


def explain(*labels: str, from_row: bool = True) -> DynamicConfigValue:
    """The agent's explanation of a bind with these labels: a table's row, or a series."""
    source = "__data.fields" if from_row else "__field.labels"
    query = urlencode(
        {label: f"${{{source}.{label}:percentencode}}" for label in labels}, safe="${}:."
    )
    return data_links("Why? The agent explains", f"{_agent(source)}/explain?{query}")


def agent_page(from_row: bool = True) -> DynamicConfigValue:
    """The agent's landing page."""
    return data_links("The agent's page", _agent("__data.fields" if from_row else "__field.labels"))


def data_links(title: str, url: str) -> DynamicConfigValue:
    """A property of a field: where a click on its value leads."""
    return DynamicConfigValue("links", [{"title": title, "url": url, "targetBlank": True}])


def _agent(source: str) -> str:
    return f"${{scheme}}://${{{source}.instance}}"
