"""Tables: whole in a pipe, folded on a terminal, and never commanded by what they show."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from portwatch.cli.tables import Painted, folded_table, plain_table

COLUMNS = ("NAME", "COUNT", "VERDICT", "WORKLOAD")
LONG = "/system.slice/" + "x" * 150
ROWS = [
    ("[red]etcd[/]", 12345, Painted("denied", "red", " by shop"), LONG),
    ("b\x1b[31m\n", 7, Painted("allowed", "green"), "tail"),
]
SHOW = f"""
from portwatch.cli.tables import Painted, show_table
show_table({COLUMNS!r}, [("[red]etcd[/]", 12345, Painted("denied", "red", " by shop"), {LONG!r})])
"""


def test_a_pipe_gets_whole_lines() -> None:
    """Nothing is cut or folded, numbers stand to the right, and no line ends in blanks."""
    heading, first, second = plain_table(COLUMNS, ROWS).splitlines()
    assert heading.split() == list(COLUMNS)
    assert first.split() == ["[red]etcd[/]", "12,345", "denied", "by", "shop", LONG]
    assert second.index("7") == first.index("5")
    assert not any(line.endswith(" ") for line in (heading, first, second))


@pytest.mark.parametrize("width", [30, 60, 200])
def test_a_terminal_gets_all_of_it_folded(width: int) -> None:
    """However narrow, every character of a wide cell is there."""
    text = folded_table(("NAME", "PATH"), [("a", LONG)], width, in_colour=False)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("x") == 150


def test_data_does_not_speak_to_the_terminal() -> None:
    """Markup in a name stands there as written; what would steer the terminal is replaced."""
    for text in (plain_table(COLUMNS, ROWS), folded_table(COLUMNS, ROWS, 300, in_colour=False)):
        assert "[red]etcd[/]" in text
        assert "\x1b" not in text
        assert "b\ufffd[31m\ufffd" in text


def test_only_the_word_is_painted() -> None:
    """A verdict has its colour, what stands behind it has none."""
    text = folded_table(COLUMNS, ROWS, 300, in_colour=True)
    assert "\x1b[1;31mdenied\x1b[0m by shop" in text


def test_a_table_of_nothing_is_a_heading() -> None:
    """No rows are no error."""
    assert plain_table(("A", "B"), []) == "A  B"
    assert "A" in folded_table(("A", "B"), [], 80, in_colour=False)


def shown(on_terminal: bool, **environment: str) -> str:
    """What show_table() prints."""
    ours, theirs = pty.openpty()
    more = {"NO_COLOR": "", "TERM": "xterm", **environment}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=os.environ | more,
        stdin=subprocess.DEVNULL,
        stdout=theirs if on_terminal else subprocess.PIPE,
        check=True,
    )
    os.close(theirs)
    text = os.read(ours, 65536) if on_terminal else done.stdout
    os.close(ours)
    return text.decode()


def test_colours_are_for_terminals_that_want_them() -> None:
    """Colours on a terminal; none in a pipe, even if forced, and none with NO_COLOR."""
    assert "\x1b[1;31mdenied" in shown(on_terminal=True)
    assert "\x1b" not in shown(on_terminal=True, NO_COLOR="1")
    piped = shown(on_terminal=False, FORCE_COLOR="1", COLUMNS="20")
    assert "\x1b" not in piped
    assert LONG in piped
