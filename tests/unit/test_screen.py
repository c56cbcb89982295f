"""The parts of the live screen that need no terminal and no kernel."""

from __future__ import annotations

import pytest

from portwatch.agent.board.rates import WINDOW_SECONDS, Rates
from portwatch.agent.board.row import Row
from portwatch.cli.screen.columns import COLUMNS, SORTS, ago_text, columns_for, count_text
from portwatch.cli.screen.frames import Frames, Line
from portwatch.cli.screen.keys import Keys
from portwatch.cli.screen.paint import HELP, Painter, folded, table
from portwatch.cli.screen.view import View
from portwatch.cli.top import SORTS as OPTION_SORTS

ROWS = [
    Row("bind", "allowed", "web", "tcp", 80, 900),
    Row("violation", "recorded", "web", "tcp", 9229, 3, constraint="trial"),
    Row("listener", "denied", "old", "tcp", 23, 1, constraint="telnet"),
    Row("violation", "denied", "db", "udp", 53, 1, constraint="dns"),
    Row("collision", "", "web", "tcp", 80, 2),
    Row("violation", "denied", "web", "tcp", 2379, 7, constraint="etcd"),
]


def shown(view: View) -> list[tuple[str, int]]:
    """Word and port of the rows in view."""
    view.show(ROWS)
    return [(row.word, row.port) for row in view.rows]


def test_violations_come_first() -> None:
    """Then ports that were taken, listeners, and what is let through; of each the most first."""
    assert shown(View()) == [
        ("denied", 2379),
        ("denied", 53),
        ("recorded", 9229),
        ("taken", 80),
        ("listening", 23),
        ("allowed", 80),
    ]


def test_sort_and_filters() -> None:
    """A column orders all rows; a filter is a part or a glob of workload, constraint or port."""
    assert shown(View("port"))[0] == ("listening", 23)
    assert shown(View("port", is_reversed=True))[0] == ("recorded", 9229)
    assert shown(View("count"))[0] == ("allowed", 80)
    assert shown(View(filter="etc")) == [("denied", 2379)]
    assert shown(View(filter="2379/tcp")) == [("denied", 2379)]
    assert shown(View(filter="[dt]*")) == [("denied", 53), ("recorded", 9229), ("listening", 23)]
    assert shown(View(word="taken")) == [("taken", 80)]
    assert shown(View(filter="[")) == []


def test_the_selected_row_stays_selected() -> None:
    """Though rows come before it, and the screen follows it."""
    view = View("port")
    view.show(ROWS)
    view.select(3)
    chosen = view.chosen
    assert chosen
    view.show([Row("bind", "allowed", "new", "tcp", 1, 1), *ROWS])
    assert view.chosen is chosen
    assert chosen in view.fit(2)
    view.show([])
    assert view.chosen is None
    assert view.fit(5) == []


def test_options_and_columns_agree() -> None:
    """`--sort` takes the columns that the screen sorts by."""
    assert SORTS == OPTION_SORTS


@pytest.mark.parametrize("width", range(1, 200))
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    """Whatever its width: wide letters, long names and escape sequences included."""
    rows = [
        Row("violation", "denied", "データ" * 9, "udplite", 65535, 10**15, "link-local,wildcard"),
        Row("bind", "allowed", "/a\x1b[2J" + "x" * 300, "tcp", 1, 1, rate=12345.6, last_seen=1.0),
    ]
    view = View()
    view.show(rows)
    heading, texts = table(view, 10, width, 1e9, lambda row: "p\x1b]0;x\x07" * 9)
    for line in Painter(False).lines([heading, *texts], width):
        assert line.cells <= width
        assert "\x1b[2J" not in line.text
        assert "\x1b]" not in line.text


def test_columns_make_room() -> None:
    """A narrow screen has the verdict and the workload, a wide one every column."""
    assert [column.name for column in columns_for(20)] == ["verdict", "workload"]
    assert columns_for(200) == list(COLUMNS)
    assert "constraint" in [column.name for column in columns_for(80)]


def test_the_help_fits_a_small_terminal() -> None:
    """80 by 24, as it is written."""
    lines = HELP.rstrip("\n").split("\n")
    assert folded(lines, 80) == lines
    assert len(lines) <= 24 - 5


def test_only_what_differs_is_sent() -> None:
    """The first frame is whole; of the next only the line that changed, and nothing for none."""
    frames = Frames()
    lines = [Line("one", 3), Line("two", 3)]
    assert frames.draw(lines, (3, 2)).count(b";1H") == 2
    assert frames.draw(lines, (3, 2)) == b""
    changed = frames.draw([Line("one", 3), Line("2", 1)], (3, 2))
    assert changed == b"\x1b[?2026h\x1b[2;1H2\x1b[K\x1b[?2026l"
    assert frames.draw([Line("one", 3), Line("2", 1)], (4, 2)).count(b";1H") == 2


def test_keys_survive_any_split() -> None:
    """Sequences and letters of several bytes come whole however the bytes arrive; a sequence that
    no key sends is no key, and escape alone is one when nothing follows."""
    data = "j\x1b[A\x1bOBé\x1b[5~\x1b[200;1~\r\x7f".encode()
    expected = ["j", "up", "down", "é", "page up", "enter", "backspace"]
    keys = Keys()
    assert keys.feed(data) == expected
    assert [key for byte in data for key in keys.feed(bytes([byte]))] == expected
    assert keys.feed(b"\x1b") == []
    assert keys.is_waiting
    assert keys.settle() == ["escape"]
    assert keys.settle() == []


def test_rates_are_of_the_last_seconds() -> None:
    """Unknown at first; then the growth over the window; never below zero."""
    rates = Rates()
    rates.take(100.0, {"a": 10})
    assert rates.of("a") is None
    rates.take(102.0, {"a": 20, "new": 4})
    assert (rates.of("a"), rates.of("new"), rates.of("none")) == (5.0, 2.0, 0.0)
    for second in range(20):
        rates.take(103.0 + second, {"a": 20})
    assert rates.of("a") == 0.0
    rates.take(103.0 + 20 + WINDOW_SECONDS, {"a": 1})
    assert rates.of("a") == 0.0


def test_numbers_fit_their_columns() -> None:
    """However large."""
    assert count_text(123456) == "123,456"
    assert count_text(1234567) == "1,235k"
    assert all(len(count_text(10**power)) <= 7 for power in range(20))
    assert [ago_text(seconds) for seconds in (0.5, 59, 61, 7200, 9e5)] == [
        "now",
        "59s",
        "1m",
        "2h",
        "10d",
    ]
