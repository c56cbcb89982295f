"""Whoever waits at a terminal is told what for, and nobody else."""

from __future__ import annotations

import io
import sys
import time

import pytest

from portwatch.cli import patience as module
from portwatch.cli.patience import patience


class Screen(io.StringIO):
    """What a terminal was sent."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it passes for a terminal."""
        return self._is_terminal


def shown(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, waits: bool) -> str:
    """What appears while something is done, for as long as it takes to appear where it waits."""
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "AFTER_SECONDS", 0.01 if waits else 60.0)
    with patience("looking around"):
        deadline = time.monotonic() + 20
        while waits and is_terminal and not screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    return screen.getvalue()


def test_a_wait_is_explained_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal a long wait has a line, which is gone at the end."""
    assert shown(monkeypatch, True, True) == "looking around …\r\x1b[K"


def test_what_is_quick_or_goes_elsewhere_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes no time says nothing, and a file or a pipe gets nothing ever."""
    assert shown(monkeypatch, True, False) == ""
    assert shown(monkeypatch, False, True) == ""
