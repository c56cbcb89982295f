"""SIGINT and SIGTERM end the agent's loop, SIGHUP has the policy loaded again."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
from types import FrameType


class Signals:
    """`stopping` once the loop has to end. A signal wakes the loop up, whatever it waits for."""

    def __init__(self, on_reload: Callable[[], None]) -> None:
        self.stopping = False
        self._on_reload = on_reload

    def join(self, selector: selectors.BaseSelector) -> None:
        """Listen from now on."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        selector.register(read_end, selectors.EVENT_READ, lambda: os.read(read_end, 512))
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGHUP, self._reload)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self._on_reload()
