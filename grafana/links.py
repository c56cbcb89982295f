"""Where a panel leads: the agent's explanation of one bind, its pages, the runbooks."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DynamicConfigValue

RUNBOOKS = "https://runbooks.example/portwatch/"
AGENT = "${scheme}://${__data.fields.instance}"


def runbook(alert: str) -> DashboardLink:
    """The page of an alert, in a panel's corner."""
    return (
        DashboardLink(f"Runbook: {alert}")
        .type(DashboardLinkType.LINK)
        .url(f"{RUNBOOKS}{alert}.md")
        .target_blank(True)
    )


def runbooks_link() -> DashboardLink:
    """All of them, in a dashboard's head."""
    return (
        DashboardLink("Runbooks")
        .type(DashboardLinkType.LINK)
        .icon("doc")
        .url(RUNBOOKS)
        .target_blank(True)
    )


def dashboard_link(uid: str, title: str) -> DashboardLink:
    """Another dashboard of ours, with the time and the variables of this one."""
    return (
        DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid}")
        .keep_time(True)
        .include_vars(True)
    )


def explain(*labels: str) -> DynamicConfigValue:
    """A property of a table's field: the agent's explanation of the bind with its row's labels."""
    pairs = [f"{label}=${{__data.fields.{label}:percentencode}}" for label in labels]
    return _links("Why? The agent explains", f"{AGENT}/explain?{'&'.join(pairs)}")


def closely() -> DynamicConfigValue:
    """A property of a table's field: the other dashboard, for its row's agent alone."""
    url = "/d/portwatch?var-instance=${__data.fields.instance:percentencode}"
    return _links("Look at this agent closely", url)


def agent_page() -> DynamicConfigValue:
    """A property of a table's field: the landing page of its row's agent."""
    return _links("The agent's page", AGENT)


def _links(title: str, url: str) -> DynamicConfigValue:
    return DynamicConfigValue("links", [{"title": title, "url": url, "targetBlank": True}])
