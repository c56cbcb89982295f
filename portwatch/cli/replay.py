"""`replay`: what a policy would have said to recorded binds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, json_option
from portwatch.cli.since import iso_seconds, since_option

if TYPE_CHECKING:
    from portwatch.agent.events.bind_log import BindLog
    from portwatch.policy.replay.replay import Replay, ReplayedKind


@click.command()
@click.argument("path", type=ANY_PATH)
@click.argument("events", nargs=-1, required=True, type=click.Path(readable=False))
@since_option
@json_option
def replay(path: Path, events: tuple[str, ...], since: float | None, as_json: bool) -> None:
    """Say what the policy at PATH would have said to the binds in EVENTS, logs that `portwatch run
    --events PATH` has written; .gz may be compressed, and `-` is stdin.

    With `run --log-binds` a log has every kind of bind, else violations only. What would change
    comes first. Users and groups have the names that this machine's accounts give them. Exit
    status 1 where a bind would be denied or recorded.
    """
    from portwatch.agent.events.bind_log import BindLog, stored_bytes
    from portwatch.agent.identity.account_words import accounts_of
    from portwatch.cli.reading_bar import reading_bar
    from portwatch.policy.replay.replay import Replay
    from portwatch.policy.source.load import load_policy

    policy = load_policy(path)
    replayed = Replay(policy, accounts_of(policy))
    with reading_bar("replaying", stored_bytes(events)) as advance:
        log = BindLog(events, iso_seconds(since), advance)
        for bind in log.binds():
            replayed.take(bind)
    tell_bad_lines(log)
    if as_json:
        click.echo(json.dumps(_facts(replayed, log)))
    else:
        _print(replayed)
    if any(kind.now != "allowed" for kind in replayed.counts):
        raise click.exceptions.Exit(1)


def tell_bad_lines(log: BindLog) -> None:
    """On stderr, the first few."""
    for text in log.bad_lines:
        click.echo(f"portwatch: warning: {text}: left out", err=True)
    more = log.bad - len(log.bad_lines)
    if more > 0:
        click.echo(f"portwatch: warning: {more:,} more lines are no events", err=True)


def _print(replayed: Replay) -> None:
    from portwatch.cli.tables import show_table
    from portwatch.cli.verdict_style import verdict_cell

    kinds = replayed.kinds()
    if not kinds:
        click.echo("no binds in there")
        return
    columns = ("THEN", "NOW", "BY", "PROTO", "PORT", "SCOPE", "WORKLOAD", "BINDS")
    show_table(
        columns,
        [
            (
                verdict_cell(kind.then),
                verdict_cell(kind.now),
                kind.now_by or "",
                *(kind.protocol, kind.port, kind.scope, kind.workload, count),
            )
            for kind, count in kinds
        ],
    )
    click.echo(_summary(replayed))


def _summary(replayed: Replay) -> str:
    total = sum(replayed.counts.values())
    changes: dict[str, int] = {}
    now: dict[str, int] = {}
    for kind, count in replayed.counts.items():
        now[kind.now] = now.get(kind.now, 0) + count
        if kind.differs:
            change = f"{kind.then} → {kind.now}"
            changes[change] = changes.get(change, 0) + count
    parts = [f"{now[word]:,} {word}" for word in ("denied", "recorded", "allowed") if word in now]
    text = f"{total:,} bind{'s' * (total != 1)}: {' · '.join(parts)}"
    text += "; no verdict changes" if not changes else ""
    for change, count in sorted(changes.items()):
        text += f"; {count:,} {change}"
    if replayed.unjudged:
        text += (
            f"; {replayed.unjudged:,} more could not be judged, since too little is told of them"
        )
    return text


def _facts(replayed: Replay, log: BindLog) -> dict[str, object]:
    return {
        "binds": sum(replayed.counts.values()),
        "changed": sum(count for kind, count in replayed.counts.items() if kind.differs),
        "unjudged": replayed.unjudged,
        "bad_lines": log.bad,
        "kinds": [_kind_facts(kind, count) for kind, count in replayed.kinds()],
    }


def _kind_facts(kind: ReplayedKind, count: int) -> dict[str, object]:
    return {
        "workload": kind.workload,
        "bind": {"protocol": kind.protocol, "port": kind.port, "scope": kind.scope},
        "then": _side(kind.then, kind.then_by),
        "now": _side(kind.now, kind.now_by),
        "changed": kind.differs,
        "count": count,
    }


def _side(verdict: str, by: str | None) -> dict[str, str]:
    return {"verdict": verdict} if by is None else {"verdict": verdict, "constraint": by}
