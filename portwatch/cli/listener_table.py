"""Listeners as a table for people."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from portwatch.agent.survey.survey import Surveyed
from portwatch.cli.tables import Cell, show_table
from portwatch.cli.verdict_style import verdict_cell
from portwatch.node.namespaces import network_name
from portwatch.node.published_ports import PublishedPort

HEADINGS = ("PROTO", "ADDRESS:PORT", "SCOPE", "WORKLOAD", "PROCESS", "NETWORK", "SINCE")
PUBLISHED_HEADINGS = ("PROTO", "ADDRESS:PORT", "SOURCE", "RULE", "TARGET", "NETWORK", "COMMENT")
DAY_SECONDS = 86400


def print_table(surveyed: Sequence[Surveyed], with_verdicts: bool) -> None:
    """One line each, in the order given, and a summary."""
    if not surveyed:
        click.echo("nothing listens")
        return
    headings = (*HEADINGS, "VERDICT") if with_verdicts else HEADINGS
    show_table(
        headings,
        [(*_row(one), _verdict(one)) if with_verdicts else _row(one) for one in surveyed],
    )
    click.echo(_summary(surveyed, with_verdicts))


def print_published(published: Sequence[PublishedPort]) -> None:
    """The ports that are taken with no socket; nothing where there are none."""
    if not published:
        return
    click.echo("\ntaken with no socket: NAT sends what comes in elsewhere")
    show_table(PUBLISHED_HEADINGS, [_published_row(one) for one in published])


def _published_row(one: PublishedPort) -> tuple[str, ...]:
    rule = one.rule
    address = f"[{one.address}]" if ":" in one.address else one.address
    return (
        rule.protocol,
        f"{address}:{one.ports}",
        rule.source,
        rule.rule,
        rule.target + (f" +{rule.more}" if rule.more else ""),
        network_name(one.network, one.is_host_network),
        rule.comment or "-",
    )


def _row(one: Surveyed) -> tuple[str, ...]:
    listener, holder = one.listener, one.listener.holder
    address = f"[{listener.address}]" if ":" in listener.address else listener.address
    process = f"{holder.comm}[{holder.pid}]" if holder else "-"
    if listener.more:
        process += f" +{listener.more}"
    return (
        listener.protocol,
        f"{address}:{listener.port}",
        one.scope,
        one.workload,
        process,
        network_name(listener.network, listener.is_host_network),
        _since(holder.since) if holder else "-",
    )


def _since(iso: str) -> str:
    """Local time: the hour where it was in the last day, else the date."""
    moment = datetime.fromisoformat(iso).replace(tzinfo=UTC)
    is_recent = time.time() - moment.timestamp() < DAY_SECONDS
    return f"{moment.astimezone():{'%H:%M:%S' if is_recent else '%Y-%m-%d'}}"


def _verdict(one: Surveyed) -> Cell:
    if one.decision is None:
        return "-"
    after = f" by {one.decision.constraint}" if one.violates else ""
    return verdict_cell(one.decision.verdict, after)


def _summary(surveyed: Sequence[Surveyed], with_verdicts: bool) -> str:
    networks = len({one.listener.network for one in surveyed})
    text = f"{len(surveyed):,} socket{'s' * (len(surveyed) != 1)} in {networks} network "
    text += f"namespace{'s' * (networks != 1)}"
    if not with_verdicts:
        return text
    counts = Counter(one.verdict or "not judged" for one in surveyed)
    parts = [f"{counts[word]:,} {word}" for word in ("denied", "recorded", "allowed", "not judged")]
    return f"{text}: {' · '.join(part for part in parts if not part.startswith('0 '))}"
