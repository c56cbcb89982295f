"""`top`: a live screen of who binds what, violations first."""

from __future__ import annotations

import json
import os
import selectors
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import engines_option, json_option, pin_dir_option

if TYPE_CHECKING:
    from portwatch.agent.board.board import Board, Snapshot
    from portwatch.cli.screen.view import View

# As screen.columns has them; not imported: --help is quick.
SORTS = ("verdict", "workload", "port", "scope", "count", "rate", "last", "constraint")
WHOLE_SECONDS = 10.0
"""How long the first table outside of a terminal waits for the listeners."""


@click.command()
@click.option(
    "-d",
    "--interval",
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Between two readings.  [default: 1]",
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=0),
    metavar="N",
    help="End after so many readings; 0: never.  [default: never on a terminal, nor with "
    "--interval; else 1]",
)
@click.option(
    "--sort", type=click.Choice(SORTS), default="verdict", show_default=True, help="The order."
)
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option(
    "--filter",
    "wanted",
    default="",
    metavar="TEXT",
    help="Only rows whose workload, constraint or port has that part, or matches that glob.",
)
@engines_option
@pin_dir_option
@json_option
def top(
    interval: float | None,
    count: int | None,
    sort: str,
    reverse: bool,
    wanted: str,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Show who binds what: violations first, then ports that were taken, listeners against the
    policy, and what is let through. Works with an agent running or without; `h` lists the keys.

    In a pipe or a file, a plain table for each reading, and with --json an object a line: one, or
    as many as --count and --interval say.

    Exit status 3 where nothing is loaded.
    """
    from portwatch.agent.board.board import Board
    from portwatch.cli.enforcement import HOST, cgroup_tree, parse_engines
    from portwatch.cli.patience import patience
    from portwatch.cli.screen.view import View
    from portwatch.kernel.pins import PinDir

    is_live = not as_json and _is_screen()
    if count is None and not is_live and interval is None:
        count = 1
    pause, frames = interval or 1.0, count or None
    view = View(sort, reverse, wanted)
    sockets = parse_engines(engines)
    with (
        selectors.DefaultSelector() as selector,
        closing(Board(PinDir(pin_dir), cgroup_tree(), HOST, selector, sockets)) as board,
    ):
        first = board.read()
        if is_live:
            from portwatch.cli.screen.live import LiveScreen
            from portwatch.cli.screen.why import why_text

            why = partial(why_text, pin_dir=pin_dir, engines=engines)
            colour = not os.environ.get("NO_COLOR")
            LiveScreen(board, selector, why, view, pause, frames, colour).run(first)
            return
        with patience("looking at what listens"):
            _wait_until(board, selector, WHOLE_SECONDS, whole=True)
        shown = 0
        while True:
            _print(board, board.read(), view, as_json, is_first=not shown)
            shown += 1
            if shown == frames:
                return
            _wait_until(board, selector, pause)


def _is_screen() -> bool:
    """Whether there is a terminal to draw on, and one to read keys from."""
    is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    return sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb


def _wait_until(
    board: Board, selector: selectors.BaseSelector, seconds: float, whole: bool = False
) -> None:
    """Let the board take what comes, for so long or, with `whole`, until it is whole."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not (whole and board.is_whole):
        for key, _ in selector.select(left):
            key.data()


def _print(board: Board, snapshot: Snapshot, view: View, as_json: bool, is_first: bool) -> None:
    view.show(snapshot.rows)
    if as_json:
        facts = snapshot.facts()
        facts["rows"] = [
            row.facts() | ({"process": process} if (process := board.process_of(row)) else {})
            for row in view.rows
        ]
        click.echo(json.dumps(facts))
    else:
        from portwatch.cli.board_table import board_text

        click.echo(("" if is_first else "\n") + board_text(snapshot, view.rows, board.process_of))
    sys.stdout.flush()
