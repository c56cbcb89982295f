"""The landing page: is the guardrail up, who may have which port, what has happened."""

from __future__ import annotations

from portwatch.agent.web import sections
from portwatch.agent.web.answer import Answer, Query
from portwatch.agent.web.chosen import Chosen
from portwatch.agent.web.guardrail import Guardrail, guardrail
from portwatch.agent.web.markup import Html, element
from portwatch.agent.web.page import page
from portwatch.agent.web.portmap import PortMaps
from portwatch.agent.web.strips import SCOPES, Find, port_map
from portwatch.agent.web.view import View

FASTEST_REFRESH, SLOWEST_REFRESH = 5, 3600


def landing(view: View, maps: PortMaps | None, find: Find, query: Query) -> Answer:
    """The page for one view, with the port maps of the policy in force if there is one; `workload`,
    `q`, `scope` and `refresh` choose what it shows."""
    chosen = Chosen.by(query)
    scope = query.get("scope", "wildcard")
    scope = scope if scope in SCOPES else "wildcard"
    stands = guardrail(view)
    in_force = view.in_force
    return page(
        f"{stands.word} · portwatch",
        _banner(stands),
        sections.refusal(view) if in_force is None else None,
        _section(
            "map",
            "Port map",
            _filter(chosen, scope),
            port_map(view, in_force, find, maps, chosen, scope)
            if in_force and maps
            else element("p", "There is no policy to draw.", class_="empty"),
        ),
        _section("violations", "Last violations", sections.violations(view, chosen)),
        _section("listeners", "Listeners", sections.listeners(view, chosen)),
        _section("collisions", "Collisions", sections.collisions(view, chosen)),
        _section("policy", "Policy", sections.policy(view, in_force)) if in_force else None,
        _section("hooks", "Hooks", sections.hooks(view)),
        _section("totals", "Totals", sections.totals(view)),
        refresh=_refresh(query),
    )


def _banner(stands: Guardrail) -> Html:
    return element(
        "div",
        element("h1", element("span", aria_hidden="true", class_="lamp"), stands.word),
        element("p", stands.sentence),
        class_=f"banner {stands.state}",
        role="status",
    )


def _section(name: str, title: str, *parts: str | None) -> Html:
    heading = element("h2", title, id=name)
    return element("section", heading, *parts, aria_labelledby=name)


def _filter(chosen: Chosen, scope: str) -> Html:
    return element(
        "form",
        element(
            "label",
            "Workload ",
            element(
                "input", name="workload", value=chosen.workload, placeholder="name or glob", size=16
            ),
        ),
        element(
            "label",
            "contains ",
            element("input", type="search", name="q", value=chosen.text, size=12),
        ),
        element("input", type="hidden", name="scope", value=scope) if scope != "wildcard" else None,
        element("button", "Filter"),
        None if chosen.is_all else element("a", "all workloads", href="/"),
        method="get",
        action="/",
        class_="filter",
        role="search",
    )


def _refresh(query: Query) -> int | None:
    text = query.get("refresh", "")
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        return None
    return min(max(int(text), FASTEST_REFRESH), SLOWEST_REFRESH)
