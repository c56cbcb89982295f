"""What is asked of one engine, by a thread of its own that nobody waits for.

The first question goes out at once, those that follow closely go out together. An engine that does
not know an answer yet is asked again, soon and a few times; one that fails is asked again for as
long as the answer is wanted, ever more rarely.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from portwatch.errors import EngineFailed
from portwatch.node.engines.engine import Engine

log = logging.getLogger(__name__)

TOGETHER_SECONDS = 0.005
UNKNOWN_SECONDS = (0.02, 0.1, 0.5, 2.0)
FAILED_SECONDS = (1.0, 2.0, 5.0, 30.0)
IDLE_SECONDS = 10.0  # then the thread ends and the connection with it

Item = TypeVar("Item", bound=Hashable)
Answer = TypeVar("Answer")


class QueueClock:
    """The time that a queue goes by; tests hand in a faster one."""

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait until notified, or for so long."""
        condition.wait(seconds)


@dataclass(slots=True)
class _Turn:
    """When an item is next asked for, and how often that came to nothing."""

    due: float
    unknown: int = 0
    failed: int = 0


class QuestionQueue(Generic[Item, Answer]):
    """`ask` answers those items that it can; the answers are handed to `deliver`, in the thread."""

    def __init__(
        self,
        name: str,
        opened: Callable[[], Engine],
        ask: Callable[[Engine, list[Item]], Mapping[Item, Answer]],
        deliver: Callable[[list[Answer]], None],
        batch: int,
        clock: QueueClock,
    ) -> None:
        self._name = name
        self._opened = opened
        self._ask = ask
        self._deliver = deliver
        self._batch = batch
        self._clock = clock
        self._changed = threading.Condition()
        self._turns: dict[Item, _Turn] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._asked = float("-inf")
        self._rest_until = float("-inf")
        self._failures = 0  # in a row
        self._problem: str | None = None

    def __len__(self) -> int:
        """How many answers are wanted."""
        return len(self._turns)

    @property
    def problem(self) -> str | None:
        """Why wanted answers do not come; None where they do, or none is wanted."""
        return self._problem if self._turns else None

    def want(self, item: Item) -> None:
        """Ask for an item, unless it is being asked for."""
        with self._changed:
            if self._closed or item in self._turns:
                return
            self._turns[item] = _Turn(max(self._clock.monotonic(), self._asked + TOGETHER_SECONDS))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, unwanted: Callable[[Item], bool]) -> None:
        """Ask no more for these; an answer that is under way is not delivered."""
        with self._changed:
            for item in [item for item in self._turns if unwanted(item)]:
                del self._turns[item]

    def close(self) -> None:
        """End the thread as soon as its engine lets go of it; that is not waited for."""
        with self._changed:
            self._closed = True
            self._turns.clear()
            self._changed.notify()

    def _work(self) -> None:
        engine = None
        try:
            while items := self._next():
                try:
                    engine = engine or self._opened()
                    answers = self._ask(engine, items)
                except EngineFailed as err:
                    self._failed(items, err.message)
                except Exception as err:  # a thread that ends is names that never come
                    log.exception("%s", self._name)
                    self._failed(items, f"cannot be asked: {err}")
                else:
                    self._answered(items, answers)
        finally:
            if engine:
                engine.close()

    def _next(self) -> list[Item]:
        """Wait for what is to be asked now; empty where the thread has to end."""
        with self._changed:
            idle_at = self._clock.monotonic() + IDLE_SECONDS
            while not self._closed:
                now = self._clock.monotonic()
                due = max(
                    min((turn.due for turn in self._turns.values()), default=idle_at),
                    self._rest_until if self._turns else idle_at,
                )
                if due <= now:
                    if not self._turns:
                        break
                    self._asked = now
                    return self._due(now)
                self._clock.wait(self._changed, due - now)
            self._thread = None
            return []

    def _due(self, now: float) -> list[Item]:
        """Return what is due, or nearly; what was part of a failure is asked for alone.

        So one container that an engine cannot answer for keeps no other's name back.
        """
        due = [(item, turn) for item, turn in self._turns.items() if turn.due <= now]
        due.sort(key=lambda pair: (pair[1].failed, pair[1].due))
        if due[0][1].failed:
            return [due[0][0]]
        soon = now + TOGETHER_SECONDS
        fresh = (item for item, turn in self._turns.items() if turn.due <= soon and not turn.failed)
        return [item for item, _ in zip(fresh, range(self._batch), strict=False)]

    def _answered(self, items: Collection[Item], answers: Mapping[Item, Answer]) -> None:
        delivered = []
        with self._changed:
            now = self._clock.monotonic()
            self._failures, self._rest_until = 0, now
            was, self._problem = self._problem, None
            for item in items:
                turn = self._turns.get(item)
                if turn is None:
                    continue
                if item in answers:
                    delivered.append(answers[item])
                elif turn.unknown < len(UNKNOWN_SECONDS):
                    turn.due = now + UNKNOWN_SECONDS[turn.unknown]
                    turn.unknown += 1
                    continue
                del self._turns[item]
        if was:
            log.info("%s answers again", self._name)
        if delivered:
            self._deliver(delivered)

    def _failed(self, items: Collection[Item], reason: str) -> None:
        with self._changed:
            now = self._clock.monotonic()
            self._rest_until = now + _back_off(self._failures)
            self._failures += 1
            for item in items:
                turn = self._turns.get(item)
                if turn:
                    turn.due = now + _back_off(turn.failed)
                    turn.failed += 1
            was, self._problem = self._problem, reason
            closed = self._closed
        if was != reason and not closed:
            log.warning("ignoring %s for now: %s", self._name, reason)


def _back_off(failures: int) -> float:
    return FAILED_SECONDS[min(failures, len(FAILED_SECONDS) - 1)]
