"""One errand at a time in a loop: started, read when it says something, ended when it is late."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Generic, TypeVar

from portwatch.errors import PortwatchError
from portwatch.node.errand import Errand

Result = TypeVar("Result")


class ErrandRun(Generic[Result]):
    """`done` gets the answer, `failed` the sentence that says why there is none."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        done: Callable[[Result], None],
        failed: Callable[[str], None],
    ) -> None:
        self._selector = selector
        self._done = done
        self._failed = failed
        self._running: Errand[Result] | None = None

    @property
    def is_running(self) -> bool:
        """Whether an answer is awaited."""
        return self._running is not None

    def start(self, begin: Callable[[], Errand[Result]]) -> None:
        """Begin one; none may be running."""
        assert self._running is None
        try:
            self._running = begin()
        except (PortwatchError, OSError) as err:
            self._failed(err.message if isinstance(err, PortwatchError) else str(err))
            return
        self._selector.register(self._running, selectors.EVENT_READ, self._read)

    def tick(self) -> None:
        """Now and then: an errand whose time is up is ended, and fails."""
        if self._running is not None:
            self._running.overdue()

    def close(self) -> None:
        """End what is running; nobody is told."""
        if self._running is not None:
            self._selector.unregister(self._running)
            self._running.close()
            self._running = None

    def _read(self) -> None:
        errand = self._running
        if errand is None or not errand.read():
            return
        self._selector.unregister(errand)
        self._running = None
        try:
            result = errand.result()
        except PortwatchError as err:
            self._failed(err.message)
            return
        self._done(result)
