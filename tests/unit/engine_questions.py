"""What tests of look-ups share: faster time, what is wanted, answers waited for."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator, Sequence

import pytest
from engine_servers import (
    ME,
    container_id,
    no_threads_left,
    wait_until,
)

from portwatch.errors import EngineFailed
from portwatch.node.engines.engine import Engine
from portwatch.node.engines.lookups import ContainerLookups, Found, Wanted
from portwatch.node.engines.question_queue import QueueClock
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

A, B, C = container_id("a1"), container_id("b2"), container_id("c3")


def failure_of(engine: Engine, find: bool = True) -> str:
    """The error of asking an engine for A."""
    with pytest.raises(EngineFailed) as caught:
        engine.find([A]) if find else engine.first_process(A)
    engine.close()
    assert "\n" not in caught.value.message
    return caught.value.message


class FastClock(QueueClock):
    """A hundred seconds go by in one."""

    FASTER = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return super().monotonic() * self.FASTER

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait until notified, or for so long."""
        super().wait(condition, seconds / self.FASTER)


class StoppedClock(QueueClock):
    """Time goes by only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait until notified, or a moment."""
        self.waits += 1
        condition.wait(0.005)

    def looked_at(self) -> None:
        """Wait until the thread has nothing to do at this time."""
        waits = self.waits
        wait_until(lambda: self.waits > waits + 2, "the thread has looked at the time")


@contextlib.contextmanager
def looking_up(
    host: HostPaths, given: Sequence[EngineSocket] = (), **more: object
) -> Iterator[ContainerLookups]:
    """Look-ups that leave neither thread nor descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    with no_threads_left():
        lookups = ContainerLookups(host, given, **more)  # type: ignore[arg-type]
        try:
            yield lookups
        finally:
            lookups.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def wanted(container: str, runtime: str | None = "docker", cgroup: str = "/x", **more) -> Wanted:
    """A container that is wanted of an engine of whoever runs the tests."""
    return Wanted(container, runtime, more.get("owner_uid", ME), cgroup, more.get("verify", False))


def read_some(lookups: ContainerLookups, count: int = 1) -> list[Found]:
    """So many answers, waited for as the agent's loop does."""
    found: list[Found] = []
    while len(found) < count:
        assert select.select([lookups], [], [], 30)[0], f"only {found}"
        found += lookups.read()
    assert len(found) == count
    return found


def names(found: Sequence[Found]) -> dict[str, str]:
    """Name by id."""
    return {one.wanted.id: one.facts.name for one in found}
