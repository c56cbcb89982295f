"""A thread that works for the server's loop: one thing at a time, and what is asked twice once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

log = logging.getLogger(__name__)

Tell = Callable[[Any], None]
Work = Callable[[], Any]


class Worker:
    """Does what it is asked, in order; at most `max_waiting` different things wait.

    `told(tells, result)` is called in its thread when one is done, with None as the result of what
    raised."""

    def __init__(
        self, name: str, told: Callable[[list[Tell], Any], None], max_waiting: int
    ) -> None:
        self._max_waiting = max_waiting
        self._told = told
        self._waiting: OrderedDict[Hashable, tuple[Work, list[Tell]]] = OrderedDict()
        self._change = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin nothing more, and wait that long for what is being done."""
        with self._change:
            self._ended = True
            self._waiting.clear()
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def ask(self, key: Hashable, work: Work, tell: Tell) -> bool:
        """Have `work` done and its result given to `tell`, once for all who asked by this key
        before it was begun; False where too much waits."""
        with self._change:
            if key in self._waiting:
                self._waiting[key][1].append(tell)
                return True
            if len(self._waiting) >= self._max_waiting:
                return False
            self._waiting[key] = work, [tell]
            self._change.notify()
        return True

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._ended)
                if self._ended:
                    return
                _key, (work, tells) = self._waiting.popitem(last=False)
            try:
                result = work()
            except Exception:  # a page's mistake must not end the pages
                log.exception("a page failed")
                result = None
            self._told(tells, result)
            del work, tells, result  # an answer may be a megabyte: not kept until the next
