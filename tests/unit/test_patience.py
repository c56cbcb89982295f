"""Whoever waits at a terminal is told what for, and nobody else."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

from portwatch.cli import patience as module
from portwatch.cli import reading_bar as bar_module
from portwatch.cli.patience import patience
from portwatch.cli.reading_bar import reading_bar


class Screen(io.StringIO):
    """What a terminal was sent."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it passes for a terminal."""
        return self._is_terminal


def shown(
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    waits: bool,
    fails: type[BaseException] | None = None,
) -> str:
    """What appears while something is done, for as long as it takes to appear where it waits."""
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "AFTER_SECONDS", 0.01 if waits else 60.0)
    with patience("looking around"):
        deadline = time.monotonic() + 20
        while waits and is_terminal and not screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        if fails:
            raise fails
    return screen.getvalue()


def test_a_wait_is_explained_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal a long wait has a line, which is gone at the end."""
    first, *_, last = shown(monkeypatch, True, True).split("\r")
    assert first == ""
    assert last == "\x1b[K"
    assert "looking around …" in shown(monkeypatch, True, True)


def test_a_wait_that_fails_is_wiped_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error nor Ctrl-C leaves the line behind, or the thread that drew it."""
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        shown(monkeypatch, True, True, KeyboardInterrupt)
    assert isinstance(sys.stderr, Screen)
    assert sys.stderr.getvalue().endswith("\r\x1b[K")
    assert set(threading.enumerate()) <= before


def test_a_bar_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once reading has taken a moment there is a bar, and in the end an empty line in its place."""
    screen = Screen(True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(bar_module, "AFTER_SECONDS", -1.0)
    with reading_bar("reading", 100) as advance:
        advance(40)
        advance(60)
    assert "reading" in screen.getvalue()
    assert screen.getvalue().endswith("\n\x1b[A\r\x1b[K")


def test_what_is_quick_or_goes_elsewhere_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes no time says nothing, and a file or a pipe gets nothing ever."""
    assert shown(monkeypatch, True, False) == ""
    assert shown(monkeypatch, False, True) == ""
