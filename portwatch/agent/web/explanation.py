"""/explain: why one bind is, or would be, allowed, denied or recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus

from portwatch.agent.web.answer import JSON, Answer, Query
from portwatch.agent.web.bind_query import BindQuery, bind_query
from portwatch.agent.web.explained import Explained, explain_bind, ranges_of
from portwatch.agent.web.links import explain_link, map_link
from portwatch.agent.web.markup import Html, element, escaped, joined, shortened
from portwatch.agent.web.page import page
from portwatch.agent.web.tables import named
from portwatch.agent.web.view import OTHER, View
from portwatch.agent.web.whose import Meant, find, nearest
from portwatch.errors import UsageError
from portwatch.policy.decide import Step
from portwatch.policy.sentences import port_text

MANY_STEPS = 12
FEW = 3
MOST_SHOWN = 10
MOST_FOLDED = 200

AsItRuns = Callable[[Meant, bool | None], Meant]
"""The same subject by the ids of what runs there, in the network that is asked for."""


def explanation(view: View, as_it_runs: AsItRuns, query: Query) -> Answer:
    """The page, or with `format=json` the same for machines."""
    is_json = query.get("format") == "json"
    try:
        asked = bind_query(query)
    except UsageError as err:
        return _failed(HTTPStatus.BAD_REQUEST, err.message, (), is_json)
    in_force = view.in_force
    if in_force is None:
        because = "no policy is in force yet"
        return _failed(HTTPStatus.SERVICE_UNAVAILABLE, because, (), is_json)
    if asked.workload == OTHER:
        because = "the workload `other` is all of those that were counted past a bound: none of one"
        return _failed(HTTPStatus.NOT_FOUND, because, (), is_json)
    meant = find(asked.workload, view, in_force)
    if meant is None:
        because = f"no workload here is called `{shortened(asked.workload)}`"
        links = [
            (name, explain_link(name, asked.endpoint.protocol, query.get("port", "")))
            for name in nearest(asked.workload, view)
        ]
        return _failed(HTTPStatus.NOT_FOUND, because, links, is_json)
    meant = as_it_runs(meant, asked.host_network)
    explained = explain_bind(in_force, view.published, asked, meant)
    if is_json:
        facts = {"policy": in_force.policy.sha256, **explained.as_json(asked, meant)}
        return _json(HTTPStatus.OK, facts)
    return _page(asked, meant, explained)


def _page(asked: BindQuery, meant: Meant, explained: Explained) -> Answer:
    decision = explained.decision
    port = port_text(asked.endpoint)
    outcome = {
        "denied": f"bind() fails with {decision.errno}",
        "recorded": "bind() goes through, and is recorded as a violation",
        "allowed": "bind() goes through",
    }[decision.verdict]
    by = joined((" by ", element("b", decision.constraint))) if decision.constraint else None
    reason = f": {decision.reason}" if decision.reason else "."
    network = "" if meant.subject.host_network else ", not in the host's network namespace"
    verdict = element(
        "div",
        element(
            "p",
            element("span", aria_hidden="true", class_="lamp"),
            element("strong", decision.verdict.capitalize()),
            class_="big",
        ),
        element("p", outcome, by, reason),
        class_=f"banner {decision.verdict}-banner",
    )
    return page(
        f"{decision.verdict}: {shortened(asked.workload)} and {port}",
        element("h1", "May ", named(asked.workload), f" bind {port}?", class_="question"),
        element("p", f"To address {asked.address}{network}.", class_="note"),
        element("p", meant.note[:1].upper() + meant.note[1:], ".", class_="note")
        if meant.note
        else None,
        verdict,
        _section("why", "Why, constraint by constraint", _steps(explained.steps, asked.constraint)),
        _section("whose", f"Whose is {port}?", _owners(explained)),
        _section("may", "What this workload may have", _may_bind(explained, asked)),
        element("p", element("a", "Its port map", href=map_link(asked.workload))),
    )


def _section(name: str, title: str, *parts: str | None) -> Html:
    return element("section", element("h2", title, id=name), *parts, aria_labelledby=name)


def _steps(steps: Sequence[Step], pointed_out: str) -> Html:
    """Each constraint; those that say nothing are folded where they are many."""
    items: list[Html] = []
    quiet: list[Html] = []
    for number, step in enumerate(steps, 1):
        item = _step(number, step, step.name == pointed_out)
        speaks = step.effect in ("deny", "allow") or step.name == pointed_out
        if len(steps) <= MANY_STEPS or speaks:
            items += [*_folded(quiet), item]
            quiet = []
        else:
            quiet.append(item)
    return element("ol", *items, *_folded(quiet), class_="steps")


def _folded(quiet: list[Html]) -> list[Html]:
    if len(quiet) <= FEW:
        return quiet
    shown = quiet[:MOST_FOLDED]
    text = f"{len(quiet)} constraints that say nothing of it"
    if len(shown) < len(quiet):
        text += f", the first {len(shown)} of them here"
    inner = element("details", element("summary", text), element("ol", *shown, class_="steps"))
    return [element("li", inner, class_="fold")]


def _step(number: int, step: Step, is_asked: bool) -> Html:
    classes = ["" if step.applies else "skip-step", "asked" if is_asked else ""]
    return element(
        "li",
        element("b", step.name),
        ": ",
        step.why,
        value=number,
        class_=" ".join(filter(None, classes)) or None,
    )


def _owners(explained: Explained) -> Html:
    lines: list[str] = [
        f"{entry.description} (catalog:{entry.name})" for entry in explained.catalog[:FEW]
    ]
    lines += [str(owner) for owner in explained.owners[:MOST_SHOWN]]
    more = len(explained.owners) - MOST_SHOWN
    if more > 0:
        lines.append(f"… and {more} constraints more allow it")
    lines += [
        f"taken: NAT by {source} sends what comes in for it elsewhere, and nothing to a socket here"
        for source in explained.publishers
    ]
    if not lines:
        return element("p", "Nobody's by the policy, and the catalog knows nothing of it.")
    return element("ul", *(element("li", line) for line in lines))


def _may_bind(explained: Explained, asked: BindQuery) -> Html:
    protocol = asked.endpoint.protocol
    lines = []
    for one in explained.may_bind:
        ports = ranges_of(one, protocol)
        text = ", ".join(ports[:MOST_SHOWN]) or "nothing"
        more = len(ports) - MOST_SHOWN
        text += f" and {more} ranges more" if more > 0 else ""
        where = element("b", ", ".join(one.addresses[:MOST_SHOWN]))
        lines.append(element("li", "on ", where, f": {text}"))
    return joined((element("p", f"Of {protocol}, without a violation:"), element("ul", *lines)))


def _failed(
    status: HTTPStatus, because: str, links: Sequence[tuple[str, str]], is_json: bool
) -> Answer:
    if is_json:
        facts: dict[str, object] = {"error": because}
        return _json(status, {**facts, "nearest": [name for name, _ in links]} if links else facts)
    items = [element("li", named(name, link)) for name, link in links]
    return page(
        f"{status.phrase} · portwatch",
        element("h1", status.phrase),
        element("p", escaped(because[:1].upper() + because[1:]), "."),
        joined((element("p", "The nearest names:"), element("ul", *items))) if items else None,
        element("p", element("a", "All workloads", href="/")),
        status=status,
    )


def _json(status: HTTPStatus, facts: object) -> Answer:
    return Answer(status, JSON, json.dumps(facts).encode() + b"\n")
