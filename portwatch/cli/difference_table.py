"""What changes between two policies, as tables for people: by what becomes of the binds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import click

from portwatch.cli.tables import Cell, show_table
from portwatch.cli.verdict_style import verdict_cell
from portwatch.policy.difference.compare import Comparison
from portwatch.policy.difference.difference import Region
from portwatch.policy.difference.endpoints import Area
from portwatch.policy.tables.lookups import VERDICTS
from portwatch.policy.tables.outcomes import Outcome
from portwatch.policy.words.ports import PROTOCOLS

COLUMNS = ("WORKLOAD", "PORTS", "ADDRESSES", "BEFORE", "AFTER")
MAX_ROWS = 100
SHOWN_PORTS = 6
SHOWN_WORKLOADS = 3
SHOWN_SELECTORS = 4

_TITLES = {"denied": "newly denied", "recorded": "newly recorded", "allowed": "newly allowed"}
_DECLARED = {None: "", True: ", if declared", False: ", unless declared"}
_HOW = {"asked": "", "picked": " (picked by the kernel)", "listening": " (picked, and listening)"}


def show_difference(difference: Comparison, show_all: bool) -> None:
    """Print the tables and a summary. Unless `show_all`, what is of less interest is counted."""
    main = [region for region in difference.regions if _is_main(region)]
    rest = [region for region in difference.regions if not _is_main(region)]
    shown = [*main, *rest] if show_all or not main else main
    limit = len(shown) if show_all else MAX_ROWS
    for title, regions in _titled(shown[:limit]):
        rows = [row for region in regions for row in _rows(region, show_all)]
        show_table(COLUMNS, rows, title=title)
        click.echo()
    click.echo(_summary(difference, main, rest, len(shown[:limit])))


def ports_text(area: Area, shown: int = SHOWN_PORTS) -> str:
    """The ports as a policy would have them, no more than so many ranges."""
    ranges = [port_word(*ports) for ports in area.ports]
    left = len(ranges) - shown
    words = ranges if left <= 0 else [*ranges[:shown], f"{left:,} more"]
    text = ", ".join(words)
    if area.protocols == PROTOCOLS:
        return text
    return (
        f"{text} {'/'.join(area.protocols)}" if words[1:] else f"{text}/{'/'.join(area.protocols)}"
    )


def port_word(first: int, last: int) -> str:
    """A range as one word of the language."""
    if last == 0:
        return "ephemeral"
    if (first, last) == (1, 65535):
        return "all"
    return str(first) if first == last else f"{first}-{last}"


def _is_main(region: Region) -> bool:
    return region.changes_verdict and region.areas[0].kind != "listening"


def _titled(regions: Sequence[Region]) -> Iterator[tuple[str, list[Region]]]:
    for verdict, title in _TITLES.items():
        found = [r for r in regions if r.changes_verdict and VERDICTS[r.new.verdict] == verdict]
        if found:
            yield title, found
    rest = [region for region in regions if not region.changes_verdict]
    if rest:
        yield "the same verdict, by another constraint or with another errno", rest


def _rows(region: Region, show_all: bool) -> Iterator[tuple[Cell, ...]]:
    selectors = None if show_all else SHOWN_SELECTORS
    texts = [who.text(selectors) for who in region.subjects]
    if not show_all and len(texts) > SHOWN_WORKLOADS:
        texts[SHOWN_WORKLOADS:] = [f"{len(texts) - SHOWN_WORKLOADS:,} more"]
    workload = "; ".join(texts) + ("" if region.example else " (if there are any)")
    with_errno = region.old.verdict == region.new.verdict
    for area, how in _joined(region.areas):
        ports = ports_text(area, 10**6 if show_all else SHOWN_PORTS) + how
        ports += _DECLARED[region.declared]
        before, after = (_outcome(outcome, with_errno) for outcome in (region.old, region.new))
        yield workload, ports, str(area.addresses), before, after


def _joined(areas: Sequence[Area]) -> Iterator[tuple[Area, str]]:
    """Yield areas, those of ports that the kernel picks with those that are asked for alike."""
    picked = [area for area in areas if area.kind == "picked"]
    for area in areas:
        if area.kind == "asked":
            twin = replace(area, kind="picked")
            if twin in picked:
                picked.remove(twin)
            yield area, " (or picked by the kernel)" if twin in areas else ""
        elif area.kind == "listening":
            yield area, _HOW[area.kind]
    yield from ((area, _HOW[area.kind]) for area in picked)


def _outcome(outcome: Outcome, with_errno: bool) -> Cell:
    after = f" by {outcome.constraint}" if outcome.constraint else ""
    after += f" ({outcome.errno})" if outcome.errno and with_errno else ""
    return verdict_cell(VERDICTS[outcome.verdict], after)


def _summary(
    difference: Comparison, main: Sequence[Region], rest: Sequence[Region], shown: int
) -> str:
    if not difference.regions and not difference.is_complete:
        return "no difference was found, but not all that may be were looked for (--thorough)"
    if not difference.regions:
        return "no difference: the two policies decide alike everywhere"
    counts = {title: len(found) for title, found in _titled(main)}
    parts = [f"{count:,} {title}" for title, count in counts.items()]
    text = " · ".join(parts) if parts else "no bind changes its verdict"
    listeners = sum(region.changes_verdict for region in rest)
    if listeners:
        text += f"; {listeners:,} for listeners on ports that the kernel picked"
    if len(rest) - listeners:
        text += f"; {len(rest) - listeners:,} where only the constraint or the errno is another"
    if not difference.is_complete:
        less = " of only the constraint or the errno" if difference.has_all_verdicts else ""
        text += f"; not all changes{less} were looked for (--thorough)"
    if shown < len(difference.regions):
        text += f"; {len(difference.regions) - shown:,} not shown (--all)"
    return text
