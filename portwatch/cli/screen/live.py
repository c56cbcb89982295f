"""The loop of the live screen: reads the board, takes keys, draws what has changed."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable

from portwatch.agent.board.board import Board, Snapshot
from portwatch.agent.board.row import Row
from portwatch.cli.screen.frames import Frames
from portwatch.cli.screen.keys import Keys
from portwatch.cli.screen.paint import (
    HELP,
    Painter,
    filled,
    folded,
    foot,
    head,
    nothing,
    page,
    table,
)
from portwatch.cli.screen.signals import Signals
from portwatch.cli.screen.terminal import Terminal
from portwatch.cli.screen.view import View
from portwatch.errors import KernelError

ESCAPE_SECONDS = 0.05
LOW = 12
"""On a screen of fewer lines than that, the head is one line."""


class LiveScreen:
    """Shows a board on a terminal until somebody quits, or has seen `frames` readings."""

    def __init__(
        self,
        board: Board,
        selector: selectors.BaseSelector,
        why: Callable[[Row, str], list[str]],
        view: View,
        interval_seconds: float,
        frames: int | None,
        in_colour: bool,
    ) -> None:
        self._board = board
        self._selector = selector
        self._why = why
        self._view = view
        self._interval_seconds = interval_seconds
        self._left = frames
        self._painter = Painter(in_colour)
        self._frames = Frames()
        self._keys = Keys()
        self._snapshot: Snapshot | None = None
        self._problem = ""
        self._is_paused = False
        self._is_over = False
        self._typed: str | None = None
        self._page: tuple[str, list[str]] | None = None
        self._page_top = 0
        self._room, self._width = 1, 80
        self._due = 0.0

    def run(self, first: Snapshot) -> None:
        """Take the terminal, and give it back whatever happens."""
        self._show(first)
        with Signals() as signals, Terminal() as terminal:
            self._selector.register(signals, selectors.EVENT_READ, lambda: None)
            self._selector.register(terminal.keys, selectors.EVENT_READ, self._read_keys)
            try:
                self._loop(signals, terminal)
            finally:
                self._selector.unregister(signals)
                self._selector.unregister(terminal.keys)

    def _loop(self, signals: Signals, terminal: Terminal) -> None:
        self._due = time.monotonic() + self._interval_seconds
        while not self._is_over:
            self._draw(terminal)
            self._wait()
            noted = signals.taken()
            if signal.SIGTSTP in noted:
                terminal.give_back()
                signals.stop()
                noted.add(signal.SIGCONT)
            if signal.SIGCONT in noted:
                terminal.take()
                self._frames.forget()
            if time.monotonic() >= self._due:
                self._read_board()

    def _wait(self) -> None:
        pause = max(self._due - time.monotonic(), 0)
        ready = self._selector.select(ESCAPE_SECONDS if self._keys.is_waiting else pause)
        for key, _ in ready:
            key.data()
        if not ready:
            for name in self._keys.settle():
                self._take(name)

    def _read_board(self) -> None:
        self._due = time.monotonic() + self._interval_seconds
        if self._left is not None:
            self._left -= 1
            self._is_over = self._left <= 0
        if self._is_over or self._is_paused:
            return
        try:
            self._show(self._board.read())
        except KernelError as err:  # unloaded, perhaps to be loaded again: look on
            self._problem = err.message

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot, self._problem = snapshot, ""
        self._view.show(snapshot.rows)

    def _draw(self, terminal: Terminal) -> None:
        size = width, height = terminal.size()
        texts = head(self._snapshot, self._view, self._problem, self._is_paused)
        if height < LOW:
            del texts[1:]
        total = len(self._snapshot.rows) if self._snapshot else 0
        self._room, self._width = max(height - len(texts) - 2, 1), width
        if self._page is not None:
            heading, lines = page(*self._page, self._page_top, self._room, width)
        else:
            now = self._snapshot.time if self._snapshot else 0
            heading, lines = table(self._view, self._room, width, now, self._board.process_of)
            lines = lines or nothing(self._view, total)
        texts += [
            heading,
            *filled(lines, self._room),
            foot(self._view, total, self._typed, self._page is not None),
        ]
        frame = self._frames.draw(self._painter.lines(texts[:height], width), size)
        if frame:
            terminal.write(frame)

    def _read_keys(self) -> None:
        try:
            data = os.read(0, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._is_over = True
        for name in self._keys.feed(data):
            self._take(name)

    def _take(self, name: str) -> None:
        if name == "redraw":
            self._frames.forget()
        elif self._typed is not None:
            self._type(name)
        elif self._page is not None:
            self._turn(name)
        else:
            self._command(name)
        if self._snapshot:
            self._view.show(self._snapshot.rows)

    def _type(self, name: str) -> None:
        typed = self._typed or ""
        if name == "enter":
            self._typed = None
            return
        if name == "escape":
            self._typed = None
            self._view.filter = ""
            return
        if name == "backspace":
            typed = typed[:-1]
        elif name == "clear":
            typed = ""
        elif len(name) == 1:
            typed += name
        self._typed = self._view.filter = typed

    def _turn(self, name: str) -> None:
        assert self._page is not None
        if name in ("escape", "q", "enter", "h", "?"):
            self._page = None
            return
        step = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._room}
        step |= {"page down": self._room, " ": self._room}
        last = max(len(folded(self._page[1], self._width)) - self._room, 0)
        self._page_top = max(0, min(self._page_top + step.get(name, 0), last))

    def _command(self, name: str) -> None:
        view = self._view
        steps = {"up": -1, "k": -1, "down": 1, "j": 1}
        steps |= {"page up": -self._room, "page down": self._room}
        if name in steps:
            view.select(view.selected + steps[name])
            return
        match name:
            case "q":
                self._is_over = True
            case "g" | "home":
                view.select(0)
            case "G" | "end":
                view.select(len(view.rows))
            case "s" | ">":
                view.next_sort(1)
            case "<":
                view.next_sort(-1)
            case "r":
                view.is_reversed = not view.is_reversed
            case "v":
                view.next_word()
            case "p":
                self._is_paused = not self._is_paused
            case "/":
                self._typed = view.filter
            case "escape":
                view.filter = ""
            case " ":
                self._board.look_again()
                self._due = 0.0
            case "h" | "?":
                self._open("help", HELP.split("\n"))
            case "enter":
                self._explain()

    def _explain(self) -> None:
        row = self._view.chosen
        if row is not None:
            self._open(
                f"why {row.endpoint} of {row.workload}",
                self._why(row, self._board.process_of(row)),
            )

    def _open(self, title: str, lines: list[str]) -> None:
        self._page, self._page_top = (title, lines), 0
