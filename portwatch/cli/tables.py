"""Tables for people: the one place that knows `rich`, imported when a table is shown.

On a terminal wide cells fold and verdicts have colours. In a pipe each row is one line, nothing
is cut, and rich is not loaded. What cells hold is shown as it is, never read as markup.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import click

MIN_WIDTH = 12
"""What a column keeps of its width, where it needs that much, on a narrow terminal."""


@dataclass(frozen=True, slots=True)
class Painted:
    """A word in one of the terminal's eight colours, and what stands plainly behind it."""

    word: str
    colour: str | None
    after: str = ""

    def __str__(self) -> str:
        return self.word + self.after


Cell: TypeAlias = str | int | float | Painted
"""A number is a quantity, shown with thousands' separators: give a port as text."""


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str | None = None
) -> None:
    """Print a heading and the rows, as many cells each as there are `columns`.

    Columns of nothing but numbers are aligned to the right. `title` stands on a line above.
    """
    cells = list(rows)
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if title is not None:
        click.echo(click.style(title, bold=True) if in_colour else title)
    if sys.stdout.isatty():
        click.echo(folded_table(columns, cells, _terminal_width(), in_colour))
    else:
        click.echo(plain_table(columns, cells))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return one line a row, each cell as wide as its column's widest."""
    shown = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    right = _numeric(columns, rows)
    lines = (
        "  ".join(
            f"{cell:>{width}}" if to_right else f"{cell:<{width}}"
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in shown
    )
    return "\n".join(lines)


def folded_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, in_colour: bool
) -> str:
    """Return lines of at most `width` characters where the columns can be had so narrow."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    texts = [[_text(cell) for cell in row] for row in rows]
    for number, (heading, to_right) in enumerate(
        zip(columns, _numeric(columns, rows), strict=True)
    ):
        widest = max((len(heading), *(len(row[number]) for row in texts)))
        table.add_column(
            Text(heading),
            justify="right" if to_right else "left",
            overflow="fold",
            min_width=min(widest, MIN_WIDTH),
        )
    for row, line in zip(rows, texts, strict=True):
        rendered = [Text(text) for text in line]
        for cell, text in zip(row, rendered, strict=True):
            if isinstance(cell, Painted) and cell.colour:
                text.stylize(f"bold {cell.colour}", 0, len(cell.word))
        table.add_row(*rendered)
    console = Console(
        width=width,
        force_terminal=in_colour,
        color_system="standard" if in_colour else None,
        no_color=not in_colour,
        force_jupyter=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(table, crop=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _numeric(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[bool]:
    """Whether each column holds nothing but numbers."""
    return [
        bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        for number in range(len(columns))
    ]


def _text(cell: Cell) -> str:
    if isinstance(cell, (int, float)):
        return f"{cell:,}"
    return printable(str(cell))


def printable(text: str) -> str:
    """The text on one line; what could steer a terminal is replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80
