"""One workload's port map as SVG: a strip for TCP, a thinner one where UDP differs, marks.

Places are per cent of the width and pixels of the height, so that it fits any screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portwatch.agent.web.blocks import Block, blocks
from portwatch.agent.web.captions import Captions
from portwatch.agent.web.marks import Mark, Sign, marks
from portwatch.agent.web.markup import Html, element, joined
from portwatch.agent.web.portmap import PortMap, Region
from portwatch.agent.web.scale import TICKS, middle, position, width
from portwatch.agent.web.words import VERDICT_NAMES, range_words

TCP_HEIGHT, UDP_HEIGHT, PICKED_HEIGHT = 20, 9, 4
MARK_HEIGHT = 12
GAP = 2
HIDDEN_ON_PHONES = {5432, 6443, 9090}
SECOND_ROW = {6443, 9090}


@dataclass(frozen=True)
class Drawing:
    """What one strip shows; `label` says the same in words."""

    ports: PortMap
    listeners: Sequence[Sign]
    violations: Sequence[Sign]
    label: str


def strip(drawing: Drawing, captions: Captions, local_ports: tuple[int, int]) -> Html:
    """The whole drawing."""
    ports = drawing.ports
    y = MARK_HEIGHT
    alike = ports.udp == ports.tcp
    parts = [_lane(ports.tcp, ("tcp", "udp") if alike else ("tcp",), y, TCP_HEIGHT, captions)]
    y += TCP_HEIGHT
    if not alike:
        y += GAP
        parts.append(_lane(ports.udp, ("udp",), y, UDP_HEIGHT, captions))
        y += UDP_HEIGHT
    y += GAP
    parts.append(_picked(ports, y, captions, local_ports))
    y += PICKED_HEIGHT
    parts += [_mark(one, "listener", 0) for one in marks(drawing.listeners)]
    parts += [_mark(one, "violation", y) for one in marks(drawing.violations)]
    height = y + (MARK_HEIGHT if drawing.violations else 0)
    return element(
        "svg",
        *parts,
        class_="strip",
        role="img",
        width="100%",
        height=height,
        aria_label=drawing.label,
    )


def axis() -> Html:
    """The ticks, which stand above the strips; the map's labels say the same."""
    parts = []
    for port in TICKS:
        hidden = " wide" if port in HIDDEN_ON_PHONES else ""
        at = f"{middle(port, port):.2f}%"
        y = 22 if port in SECOND_ROW else 10
        parts.append(element("text", str(port), x=at, y=y, class_=f"tick{hidden}"))
        parts.append(element("line", x1=at, x2=at, y1=y + 3, y2=32, class_=f"tick{hidden}"))
    parts.append(element("text", "1", x="0%", y=10, class_="tick wide first"))
    parts.append(element("text", "65535", x="100%", y=10, class_="tick wide last"))
    return element("svg", *parts, class_="axis", width="100%", height=32, aria_hidden="true")


def symbols() -> Html:
    """Patterns and shapes that every strip refers to: once on a page."""
    hatch = element("path", d="M-1 7 7 -1M-1 1 1 -1M5 7 7 5", class_="hatch")
    dots = element("circle", cx=3, cy=3, r=1.2, class_="dot")
    patterns = [
        _pattern("denied", hatch),
        _pattern("recorded", dots),
    ]
    shapes = [
        element("path", id="listener", d="M-4.5 1h9L0 10z"),
        element(
            "path",
            id="violation",
            d="M-4.5 2.5-2.5.5 0 3 2.5.5 4.5 2.5 2 5 4.5 7.5 2.5 9.5 0 7-2.5 9.5-4.5 7.5-2 5z",
        ),
    ]
    defs = element("defs", *patterns, *shapes)
    return element("svg", defs, width=0, height=0, class_="symbols", aria_hidden="true")


def swatch(verdict: str) -> Html:
    """A piece of a lane, for the legend."""
    box = element("rect", width="100%", height="100%", class_=verdict)
    return element("svg", box, width=26, height=14, class_="swatch", aria_hidden="true")


def sign_shape(kind: str, is_against: bool) -> Html:
    """A mark, for the legend."""
    use = element("use", href=f"#{kind}", x=8, y=1, class_=_mark_class(kind, is_against))
    return element("svg", use, width=16, height=14, class_="swatch", aria_hidden="true")


def _pattern(name: str, drawn: Html) -> Html:
    ground = element("rect", width=6, height=6, class_=f"{name}-ground")
    return element(
        "pattern", ground, drawn, id=f"p-{name}", width=6, height=6, patternUnits="userSpaceOnUse"
    )


def _lane(
    regions: Sequence[Region], protocols: Sequence[str], y: int, height: int, captions: Captions
) -> Html:
    """Narrow blocks that differ from what is around are drawn wider than they are, over it."""
    found = list(blocks(regions))
    around = [None, *(block.verdict for block in found), None]
    bold = [
        block.is_narrow and block.verdict not in (before, after)
        for block, before, after in zip(found, around, around[2:], strict=False)
    ]
    rects = [
        _block(block, captions.block(block.regions, protocols), y, height, is_bold)
        for block, is_bold in sorted(zip(found, bold, strict=True), key=lambda pair: pair[1])
    ]
    return element("g", *rects, class_=" ".join(("lane", *protocols)))


def _block(block: Block, caption: str, y: int, height: int, is_bold: bool) -> Html:
    verdict = VERDICT_NAMES[block.verdict]
    return element(
        "rect",
        element("title", caption),
        x=_per_cent(position(block.first)),
        y=y,
        width=_per_cent(width(block.first, block.last)),
        height=height,
        class_=f"{verdict} narrow" if is_bold else verdict,
    )


def _picked(ports: PortMap, y: int, captions: Captions, local_ports: tuple[int, int]) -> Html:
    first, last = local_ports
    said = captions.outcome(ports.picked)
    text = f"{range_words(first, last)}: ports that the kernel picks; a bind to port 0 is {said}"
    return element(
        "rect",
        element("title", text),
        x=_per_cent(position(first)),
        y=y,
        width=_per_cent(width(first, last)),
        height=PICKED_HEIGHT,
        class_="ephemeral",
    )


def _mark(mark: Mark, kind: str, y: int) -> Html:
    drawn = element(
        "use", href=f"#{kind}", x=_per_cent(mark.at), y=y, class_=_mark_class(kind, mark.is_against)
    )
    parts = joined((element("title", mark.text), drawn))
    return element("a", parts, href=mark.link, tabindex=-1)


def _mark_class(kind: str, is_against: bool) -> str:
    return f"mark {kind} against" if is_against else f"mark {kind}"


def _per_cent(value: float) -> str:
    return f"{value:.3f}%"
