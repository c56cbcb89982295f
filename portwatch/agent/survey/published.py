"""What a survey hands back of ports that are taken with no socket, bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from portwatch.agent.survey.report import PublishedSeries, PublishedSpan, ShadowedSeries
from portwatch.kernel.names import OTHER_NAME
from portwatch.node.published_ports import PublishedPort

MAX_PORTS = 5000
"""A third of the kernel's map, of whose entries each may take three."""


def spans_of(published: Iterable[PublishedPort]) -> Iterator[PublishedSpan]:
    """The ports by network and IP version, of which together no more than MAX_PORTS."""
    room = MAX_PORTS
    for one in published:
        rule = one.rule
        for family in rule.families:
            last = min(rule.last, rule.first + room - 1)
            if last < rule.first:
                return
            room -= last - rule.first + 1
            address = rule.address or ""
            yield one.network, rule.protocol, family, address, rule.first, last, rule.source


def published_series(published: Iterable[PublishedPort]) -> list[tuple[PublishedSeries, int]]:
    """Ports by who published them, and protocol."""
    counts: Counter[PublishedSeries] = Counter()
    for one in published:
        counts[one.rule.source, one.rule.protocol] += one.rule.last - one.rule.first + 1
    return sorted(counts.items())


def fold_shadowed(
    counts: Counter[ShadowedSeries], max_series: int
) -> list[tuple[ShadowedSeries, int]]:
    """Past `max_series`, workload and port are `other`."""
    ordered = sorted(counts.items())
    rest: Counter[ShadowedSeries] = Counter()
    for (_, protocol, _, source), count in ordered[max_series:]:
        rest[OTHER_NAME, protocol, OTHER_NAME, source] += count
    return [*ordered[:max_series], *sorted(rest.items())]
