"""A port map in words, for those who cannot see it: one label, and a table of its ranges."""

from __future__ import annotations

from collections.abc import Sequence

from portwatch.agent.web.captions import Captions
from portwatch.agent.web.links import explain_link
from portwatch.agent.web.markup import Html, element
from portwatch.agent.web.portmap import PortMap, Region
from portwatch.agent.web.tables import table, verdict_badge
from portwatch.agent.web.words import count_of, range_words, verdict_name

MOST_RANGES = 200
MOST_LABEL_PARTS = 6


def in_words(ports: PortMap) -> str:
    """The strip for those who cannot see it, as far as that fits a sentence or two."""
    told = [_list_words(ports.tcp, "TCP" if ports.udp != ports.tcp else "TCP and UDP")]
    if ports.udp != ports.tcp:
        told.append(_list_words(ports.udp, "UDP"))
    return " ".join(told)


def _list_words(regions: Sequence[Region], protocol: str) -> str:
    against = [one for one in regions if one.outcome.verdict]
    if not against:
        return f"{protocol}: every port is allowed."
    if len(against) == len(regions) == 1:
        only = against[0].outcome
        return f"{protocol}: every port is {verdict_name(only)} by {only.constraint}."
    parts = [
        f"{range_words(one.first, one.last)} {verdict_name(one.outcome)} by "
        f"{one.outcome.constraint}"
        for one in against[:MOST_LABEL_PARTS]
    ]
    more = len(against) - MOST_LABEL_PARTS
    rest = f", and {count_of(more, 'range')} more" if more > 0 else ""
    return f"{protocol}: {', '.join(parts)}{rest}; the others are allowed."


def ranges_table(name: str, ports: PortMap, captions: Captions) -> Html:
    """Every range, folded, each with a link to its explanation."""
    rows = []
    lanes = {"tcp+udp": ports.tcp}
    if ports.udp != ports.tcp:
        lanes = {"tcp": ports.tcp, "udp": ports.udp}
    for lane, regions in lanes.items():
        protocol = lane[:3]
        for one in regions:
            words = range_words(one.first, one.last)
            link = explain_link(name, protocol, one.first)
            verdict = verdict_name(one.outcome)
            rows.append(
                (
                    element("a", f"{words}/{lane}", href=link, class_="port"),
                    verdict_badge(verdict),
                    one.outcome.constraint or "",
                    captions.reason(one.outcome.constraint or ""),
                    captions.owner(one, protocol),
                )
            )
    more = len(rows) - MOST_RANGES
    return element(
        "details",
        element("summary", f"{count_of(len(rows), 'range')} of ports as a table"),
        table(
            "Ranges of ports",
            ("Ports", "Verdict", "Constraint", "Reason", "Whose"),
            rows[:MOST_RANGES],
        ),
        element("p", f"{more:,} more ranges are left out.", class_="note") if more > 0 else None,
    )
