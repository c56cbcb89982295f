"""The port map: a strip for each workload, the most telling first, as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portwatch.agent.web.captions import Captions
from portwatch.agent.web.chosen import Chosen
from portwatch.agent.web.links import map_link
from portwatch.agent.web.markup import Html, element, joined
from portwatch.agent.web.portmap import PortMap, PortMaps
from portwatch.agent.web.ranges import in_words, ranges_table
from portwatch.agent.web.seen import Seen, seen_by_workload
from portwatch.agent.web.strip import Drawing, axis, sign_shape, strip, swatch, symbols
from portwatch.agent.web.tables import named
from portwatch.agent.web.view import EVERYBODY_ELSE, InForce, View
from portwatch.agent.web.whose import Meant, names_here
from portwatch.agent.web.words import count_of
from portwatch.policy.words.addresses import Address

OPEN_STRIPS = 12
MOST_STRIPS = 150
MOST_BYTES = 190_000
"""Of strips on one page; what does not fit is named, and one link away."""

MOST_MISFITS = 2
"""Each costs as much as one that fits."""

MOST_NAMED_BYTES = 40_000
TABLES_UP_TO = 4
"""So many workloads have their ranges as a table beside the strip."""

SCOPES = {
    "wildcard": "0.0.0.0",  # noqa: S104 (asked about, not bound)
    "loopback": "127.0.0.1",
    "private": "10.0.0.1",
    "link-local": "169.254.0.1",
    "public": "1.1.1.1",
}
"""Each word of the language for addresses, by one of them."""

Find = Callable[[str], Meant | None]
"""The subject that stands for a workload."""


def port_map(
    view: View, in_force: InForce, find: Find, maps: PortMaps, chosen: Chosen, scope: str
) -> Html:
    """The section of the page, with its legend."""
    seen = seen_by_workload(view)
    names = [name for name in (*names_here(view), EVERYBODY_ELSE) if chosen.has(name)]
    defined = {workload.name for workload in in_force.policy.workloads}
    nothing = Seen()

    def rank(name: str) -> tuple[object, ...]:
        here = seen.get(name, nothing)
        return (
            not here.violations,
            not here.listens_against,
            name not in defined,
            name == EVERYBODY_ELSE,
            -here.listener_count,
        )

    names.sort(key=rank)
    captions = Captions(in_force)
    address = Address.parse(SCOPES[scope])
    drawn: dict[str, Html] = {}
    size = misfits = 0
    for name in names[:MOST_STRIPS]:
        if misfits == MOST_MISFITS:
            break
        meant = find(name)
        if meant is None:
            continue
        ports = maps.of(meant.subject, address)
        one = _workload(
            name,
            meant.note,
            ports,
            seen.get(name, nothing),
            captions,
            view,
            with_table=len(names) <= TABLES_UP_TO,
        )
        if size + len(one) <= MOST_BYTES:
            size += len(one)
            drawn[name] = one
        else:
            misfits += 1
    left = [name for name in names if name not in drawn]
    strips = list(drawn.values())
    return joined(
        (
            symbols(),
            _legend(scope, chosen),
            element("div", axis(), *strips[:OPEN_STRIPS], class_="strips")
            if strips
            else element("p", "No workload here is called so.", class_="empty"),
            _more(strips[OPEN_STRIPS:]),
            _left_out(left),
        )
    )


def _workload(
    name: str,
    note: str,
    ports: PortMap,
    seen: Seen,
    captions: Captions,
    view: View,
    *,
    with_table: bool,
) -> Html:
    counts = [
        count_of(seen.listener_count, "listener") if seen.listener_count else "",
        count_of(seen.violation_count, "violation") if seen.violation_count else "",
    ]
    said = ", ".join(filter(None, counts))
    label = f"Port map of {name[:120]}. {in_words(ports)} {said or 'Nothing listens.'}"
    drawing = Drawing(ports, seen.listener_signs(), seen.violation_signs(), label)
    return element(
        "article",
        element(
            "h3",
            named(name, map_link(name)),
            element("span", f" {said}", class_="counts") if said else None,
        ),
        element("p", note, class_="note") if note and with_table else None,
        strip(drawing, captions, view.local_ports),
        ranges_table(name, ports, captions) if with_table else None,
        class_="workload",
    )


def _legend(scope: str, chosen: Chosen) -> Html:
    items = [
        (swatch("allowed"), "allowed"),
        (swatch("denied"), "denied"),
        (swatch("recorded"), "would be denied, recorded"),
        (swatch("ephemeral"), "ports that the kernel picks"),
        (sign_shape("listener", False), "listener"),
        (sign_shape("listener", True), "listener against the policy"),
        (sign_shape("violation", True), "violation"),
    ]
    listed = [element("li", drawn, " ", text) for drawn, text in items]
    asked = {"workload": chosen.workload, "q": chosen.text}
    hidden = [element("input", type="hidden", name=k, value=v) for k, v in asked.items() if v]
    buttons = [
        element(
            "button",
            word,
            name="scope",
            value=word,
            aria_pressed="true" if word == scope else "false",
        )
        for word in SCOPES
    ]
    explained = (
        "Ports 1 to 65535, logarithmic. One strip is for TCP and UDP where they are judged alike; "
        "else the upper one is TCP and the thin one below it UDP. Drawn for binds to: "
    )
    return joined(
        (
            element("ul", *listed, class_="legend", aria_label="Legend"),
            element(
                "form",
                *hidden,
                element("p", explained, *buttons),
                method="get",
                action="/",
                class_="scopes",
            ),
        )
    )


def _more(drawn: Sequence[Html]) -> Html | None:
    if not drawn:
        return None
    summary = element("summary", f"{count_of(len(drawn), 'workload')} more, with less to see")
    return element("details", summary, element("div", axis(), *drawn, class_="strips"))


def _left_out(names: Sequence[str]) -> Html | None:
    if not names:
        return None
    links: list[Html] = []
    size = 0
    for name in names:
        link = element("li", named(name, map_link(name)))
        size += len(link)
        if size > MOST_NAMED_BYTES:
            break
        links.append(link)
    more = len(names) - len(links)
    note = f" {more:,} more are not even named: filter by name above." if more > 0 else ""
    return element(
        "details",
        element("summary", f"{count_of(len(names), 'workload')} left out here: each is a link"),
        element("ul", *links, class_="names"),
        element("p", note) if note else None,
    )
