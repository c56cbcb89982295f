"""The board as plain text, whole lines for pipes and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from portwatch.agent.board.board import Snapshot
from portwatch.agent.board.guard import VERDICTS
from portwatch.agent.board.row import Row
from portwatch.cli.screen.columns import COLUMNS, ago_text, rate_text, why
from portwatch.cli.tables import Cell, plain_table


def board_text(snapshot: Snapshot, rows: Sequence[Row], process: Callable[[Row], str]) -> str:
    """Two lines of head, a heading, and a line a row."""
    cells = [_cells(row, snapshot.time, process(row)) for row in rows]
    return "\n".join((*_head(snapshot), plain_table([one.heading for one in COLUMNS], cells)))


def _head(snapshot: Snapshot) -> tuple[str, str]:
    guard = snapshot.guard
    state = "no policy" if not guard.sha256 else guard.mode
    if guard.gone:
        state = f"not whole: {', '.join(guard.gone)} gone"
    attached = f"hooks {sum(guard.hooks.values())}/{len(guard.hooks)}"
    agent = f"agent {guard.agent_pid}" if guard.agent_pid else "no agent"
    clock = f"{datetime.fromtimestamp(snapshot.time):%Y-%m-%d %H:%M:%S}"
    policy = f", policy {guard.policy} {guard.sha256[:12]}" if guard.sha256 else ""
    binds = ", ".join(f"{verdict} {guard.binds[verdict]}" for verdict in VERDICTS)
    return (
        f"portwatch {clock}: {state}, {attached}, {agent}{policy}",
        f"binds {binds}, events lost {guard.events_lost}",
    )


def _cells(row: Row, now: float, process: str) -> tuple[Cell, ...]:
    return (
        row.word,
        row.workload,
        row.endpoint,
        row.scope or "-",
        row.count,
        rate_text(row.rate) or "-",
        ago_text(None if row.last_seen is None else now - row.last_seen) or "-",
        why(row) or "-",
        process or "-",
    )
