"""The board as lines of a terminal, by rich; nothing that it shows can steer the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from portwatch.agent.board.board import Snapshot
from portwatch.agent.board.guard import VERDICTS, Guard
from portwatch.agent.board.row import Row
from portwatch.cli.screen.columns import (
    GAP,
    Column,
    ago_text,
    columns_for,
    count_text,
    rate_text,
    why,
)
from portwatch.cli.screen.frames import Line
from portwatch.cli.screen.view import View
from portwatch.cli.tables import printable
from portwatch.cli.verdict_style import COLOURS

HELP = """\
q             quit                    /      filter by workload, constraint or
j k ↑ ↓       select a row                   port: part or glob; Esc ends it
PgUp PgDn     a screen up, down       v      denied, recorded, taken, …, all
g G           first, last row         s > <  next, previous column to sort by
Enter         why, and what else      r      reverse the order
              it may bind             p      pause
space         look again now          h ?    this page

denied        binds that the policy refused
recorded      binds against the policy that were let through
taken         binds that failed because the port was in use (EADDRINUSE)
listening     sockets that are open and against the policy
against       bound once, not counted as a violation; the policy is against it
allowed       everything else that was bound

COUNT is since portwatch was loaded, RATE/S of the last five seconds. SCOPE is
the policy language's word for the address. Port 0: the kernel picks one.\
"""
KEYS = "q quit  ↵ why  / filter  v verdicts  s sort  r reverse  p pause  h help"

Process = Callable[[Row], str]


class Painter:
    """Makes lines of `Text`, and of these what a terminal takes, in colour or not."""

    def __init__(self, in_colour: bool) -> None:
        self._console = Console(
            width=1 << 16,
            force_terminal=True,
            color_system="standard" if in_colour else None,
            no_color=not in_colour,
            force_jupyter=False,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def lines(self, texts: Iterable[Text], width: int) -> list[Line]:
        """Each cut to the width."""
        cut = list(texts)
        for text in cut:
            text.truncate(width, overflow="ellipsis")
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(cut), no_wrap=True, overflow="ignore", crop=False)
        shown = captured.get().split("\n")
        return [Line(one, text.cell_len) for one, text in zip(shown, cut, strict=False)]


def head(snapshot: Snapshot | None, view: View, problem: str, is_paused: bool) -> list[Text]:
    """Three lines: whether the guardrail is up, by which policy, and what it counts."""
    if snapshot is None:
        return [Text.assemble(" portwatch  ", (f" {printable(problem)} ", "bold red reverse"))]
    guard = snapshot.guard
    clock = time.strftime("%H:%M:%S", time.localtime(snapshot.time))
    if problem:  # then nothing below is of now
        first = Text.assemble(" ", (printable(problem), "bold red reverse"), f"  as it was {clock}")
    else:
        first = Text.assemble(
            " ", _state(guard), "  ", _hooks(guard), f"  {_agent(guard)}  {clock}"
        )
    if is_paused:
        first.append("  PAUSED", "bold yellow")
    return [first, _policy(guard, snapshot.time), _counts(guard, view, snapshot)]


def _state(guard: Guard) -> tuple[str, str]:
    if not guard.sha256:
        return ("NO POLICY: every bind goes through", "bold red")
    if guard.gone:
        return (f"NOT WHOLE: {', '.join(guard.gone)} gone", "bold red")
    return ("ENFORCING", "bold green") if guard.mode == "enforce" else ("RECORDING", "bold yellow")


def _hooks(guard: Guard) -> str:
    attached = sum(guard.hooks.values())
    return f"hooks {attached}/{len(guard.hooks)}"


def _agent(guard: Guard) -> str:
    return f"agent {guard.agent_pid}" if guard.agent_pid else "no agent, pins only"


def _policy(guard: Guard, now: float) -> Text:
    if not guard.sha256:
        return Text(" portwatch apply PATH puts one in force")
    many = "s" * (guard.constraints != 1)
    age = ago_text(max(now - guard.policy_since, 2))
    return Text(
        f" {printable(guard.policy)}  {guard.constraints} constraint{many}  {guard.sha256[:12]}  "
        f"in force {age}"
    )


def _counts(guard: Guard, view: View, snapshot: Snapshot) -> Text:
    line = Text(" binds ")
    for verdict in VERDICTS:
        count, rate = guard.binds[verdict], guard.rates[verdict]
        line.append(f"{verdict} ", f"bold {COLOURS[verdict]}" if count else "")
        line.append(count_text(count, 10))
        line.append(f" {rate_text(rate)}/s" if rate else "")
        line.append("  ")
    line.append(f"events lost {guard.events_lost:,}", "bold red" if guard.events_lost else "")
    if snapshot.trouble:
        line.append(f"  listeners: {printable(snapshot.trouble)}", "red")
    return line


def table(
    view: View, height: int, width: int, now: float, process: Process
) -> tuple[Text, list[Text]]:
    """The heading, and the rows that fit."""
    rows = view.fit(height)
    columns = columns_for(width)
    cells = [[_cell(column, row, now, process) for column in columns] for row in rows]
    widths = _widths(columns, cells, width)
    heading = _line([Text(_heading(column, view)) for column in columns], columns, widths)
    heading.pad_right(max(width - heading.cell_len, 0))
    heading.stylize("reverse")
    lines = []
    for number, line in enumerate(cells, view.top):
        text = _line(line, columns, widths)
        if number == view.selected:
            text.pad_right(max(width - text.cell_len, 0))
            text.stylize("bold reverse")
        lines.append(text)
    return heading, lines


def _heading(column: Column, view: View) -> str:
    if column.name != view.sort:
        return column.heading
    return column.heading[: column.width - 1] + ("▲" if view.is_reversed else "▼")


def _cell(column: Column, row: Row, now: float, process: Process) -> Text:
    match column.name:
        case "verdict":
            colour = "magenta" if row.kind == "collision" else COLOURS.get(row.verdict, "yellow")
            return Text(row.word, colour if row.kind == "bind" else f"bold {colour}")
        case "workload":
            return Text(printable(row.workload))
        case "port":
            return Text(row.endpoint)
        case "scope":
            return Text(row.scope)
        case "count":
            return Text(count_text(row.count))
        case "rate":
            return Text(rate_text(row.rate))
        case "last":
            return Text(ago_text(None if row.last_seen is None else now - row.last_seen))
        case "constraint":
            return Text(printable(why(row)))
        case _:
            return Text(printable(process(row)))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Whom and by whom get what they need, up to an even share each; why gets the rest."""
    widths = [column.width for column in columns]
    spare = width - sum(widths) - GAP * (len(columns) - 1)
    room = spare + sum(column.width for column in columns if column.stretches)
    names = [column.name for column in columns]
    share = sum(column.stretches for column in columns)
    for name in ("port", "workload", "process"):
        if name in names:
            number = names.index(name)
            needed = max((line[number].cell_len for line in cells), default=0)
            most = max(columns[number].width, room // share)
            wanted = max(len(columns[number].heading), min(needed, most))
            grown = min(wanted - widths[number], max(spare, 0))
            widths[number] += grown
            spare -= grown
    if spare > 0:
        widths[names.index("constraint" if "constraint" in names else "workload")] += spare
    return widths


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, column, width in zip(cells, columns, widths, strict=True):
        if line:
            line.append(" " * GAP)
        if column.name == "workload":
            cell = _end_of(cell, width)
        if column.to_right:
            cell.truncate(width, overflow="ellipsis")
            cell.pad_left(width - cell.cell_len)
        else:
            cell.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(cell)
    return line


def _end_of(path: Text, width: int) -> Text:
    """The end of a long path tells more than its start."""
    if path.cell_len <= width or not path.plain.startswith("/"):
        return path
    rest = path.plain
    while cell_len(rest) > width - 1:
        rest = rest[1:]
    return Text(f"…{rest}")


def foot(view: View, total: int, typed: str | None, is_page: bool) -> Text:
    """The filter while it is typed; else the keys, and what is shown of how much."""
    if is_page:
        return Text(" Esc back  j k PgUp PgDn scroll", "dim")
    if typed is not None:
        return Text.assemble((" filter: ", "bold"), printable(typed), ("█", ""))
    shown = []
    if view.word:
        shown.append(f"only {view.word}")
    if view.filter:
        shown.append(f"filter {printable(view.filter)}")
    if shown or len(view.rows) != total:
        shown.append(f"{len(view.rows):,} of {total:,} rows")
    line = Text(" ")
    if shown:
        line.append(" · ".join(shown) + "  ", "bold yellow")
    return line.append(KEYS, "dim")


def nothing(view: View, total: int) -> list[Text]:
    """In place of rows."""
    if total:
        return [Text(" nothing matches: / changes the filter, v the verdicts")]
    return [Text(" nothing was bound since portwatch was loaded")]


def filled(lines: list[Text], height: int) -> list[Text]:
    """With empty lines up to that height."""
    return lines + [Text("") for _ in range(height - len(lines))]


def page(
    title: str, lines: Sequence[str], top: int, height: int, width: int
) -> tuple[Text, list[Text]]:
    """A heading, and the lines of a page that fit, a verdict at the head of one in its colour."""
    heading = Text(f" {printable(title)}".ljust(width), "reverse")
    texts = []
    for line in folded(lines, width)[top : top + max(height, 0)]:
        word = line.partition(" ")[0]
        text = Text(f" {line}")
        if word in COLOURS:
            text.stylize(f"bold {COLOURS[word]}", 1, 1 + len(word))
        texts.append(text)
    return heading, texts


def folded(lines: Iterable[str], width: int) -> list[str]:
    """With those that are too long in several, what follows further in."""
    found = []
    for line in lines:
        further = " " * (len(line) - len(line.lstrip()) + 2)
        wide = max(width - 1, len(further) + 8)
        found += wrap(line, wide, subsequent_indent=further, break_on_hyphens=False) or [""]
    return found
