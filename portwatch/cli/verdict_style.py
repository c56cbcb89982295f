"""How verdicts look in a terminal: the word always, the colour where there is one."""

from __future__ import annotations

import click

from portwatch.cli.tables import Painted

COLOURS = {"allowed": "green", "denied": "red", "recorded": "yellow"}


def verdict_text(verdict: str) -> str:
    """The verdict in its colour; click drops colours where they cannot be seen."""
    return click.style(verdict, fg=COLOURS.get(verdict), bold=True)


def verdict_cell(verdict: str, after: str = "") -> Painted:
    """The verdict in its colour as a table's cell, `after` behind it."""
    return Painted(verdict, COLOURS.get(verdict), after)
