"""The board: everything that `top` shows, read from the pins, agent running or not."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from portwatch.agent.board.cgroup_paths import CgroupPaths
from portwatch.agent.board.counts import count_rows
from portwatch.agent.board.guard import VERDICTS, Guard, binds_by_verdict, read_guard
from portwatch.agent.board.judge import Judge, live_generation
from portwatch.agent.board.listening import Listening
from portwatch.agent.board.rates import Rates
from portwatch.agent.board.row import Row
from portwatch.agent.board.told import Told
from portwatch.agent.clock import Clock, iso
from portwatch.agent.identity.container_asking import ask_now
from portwatch.errors import NotLoaded
from portwatch.kernel.names import Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths
from portwatch.node.processes import boot_offset_ns, process_comm, started_ns

MAX_REMEMBERED = 16384
AGENT_SECONDS = 5.0
ENGINE_SECONDS = 0.3  # an engine that does not answer holds the screen up no longer


@dataclass(frozen=True)
class Snapshot:
    """The board at one time, in seconds since the epoch. `trouble`: what could not be looked at."""

    time: float
    guard: Guard
    rows: list[Row]
    trouble: str = ""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "time": iso(int(self.time * 1e9)),
            **self.guard.facts(),
            "rows": [row.facts() for row in self.rows],
        }


class Board:
    """Reads again at each `read()`; between them the owner runs the selector, whose keys have what
    to call as their data."""

    def __init__(
        self,
        pin_dir: PinDir,
        tree: CgroupTree,
        host: HostPaths,
        selector: selectors.BaseSelector,
        engines: Sequence[EngineSocket] = (),
    ) -> None:
        self._pin_dir = pin_dir
        self._host = host
        self._clock = Clock()
        self._paths = CgroupPaths(tree)
        self._ask = lambda: ask_now(tree, host, tree.scan(), engines, ENGINE_SECONDS)
        self._listening = Listening(pin_dir.path, selector, engines)
        self._told = Told(pin_dir.path, selector)
        self._comms: dict[tuple[int, int], str] = {}
        self._comm_order: deque[tuple[int, int]] = deque()
        self._pins: _OpenPins | None = None
        self._agent: int | None = None
        self._agent_started: int | None = None
        self._agent_due = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether what listens is known, which takes a child a moment; without a policy nothing is
        against it."""
        has_policy = self._pins is not None and self._pins.judge is not None
        return self._listening.is_known or not has_policy

    def read(self) -> Snapshot:
        """Look at everything that is counted; NotLoaded, PinMismatch, PrivilegeMissing."""
        pins = self._open_pins()
        generation = live_generation(self._pin_dir)
        if pins.follow(generation):
            self._listening.want()
        if generation:
            self._listening.tick()
        self._told.tick()
        judge, rates = pins.judge, pins.rates
        now, wall = time.monotonic(), self._clock.wall_ns()
        if judge is not None:
            judge.tick(now)
        offset = wall - self._clock.boot_ns()
        rows = count_rows(pins.readings, pins.names, judge, self._paths, offset)
        totals = pins.readings.totals()
        keyed = {row.key: row for row in rows}
        counts: dict[Hashable, int] = {key: row.count for key, row in keyed.items()}
        counts.update(binds_by_verdict(totals))
        rates.take(now, counts)
        for key, row in keyed.items():
            row.rate = rates.of(key)
        guard = read_guard(
            self._agent_pid(now),
            pins.readings,
            judge,
            totals,
            {name: rates.of(name) for name in VERDICTS},
        )
        return Snapshot(wall / 1e9, guard, rows + self._listening.rows, self._listening.trouble)

    def look_again(self) -> None:
        """At what is looked at only now and then, too."""
        self._listening.want()
        if self._pins and self._pins.judge:
            self._pins.judge.forget()

    def process_of(self, row: Row) -> str:
        """The process that made a row's binds, or the first of them, as far as it is known:
        `name[pid]`, or the number alone where it has ended."""
        told = self._told.processes.get((row.workload, row.protocol, row.port))
        return row.process or told or self._first_process(row)

    def close(self) -> None:
        """Give everything back."""
        self._listening.close()
        self._told.close()
        if self._pins:
            self._pins.close()

    def _first_process(self, row: Row) -> str:
        if not row.pid:
            return ""
        key = (row.pid, row.first_ns)
        if key not in self._comms:
            self._comms[key] = self._comm(*key)
            self._comm_order.append(key)
            if len(self._comm_order) > MAX_REMEMBERED:
                del self._comms[self._comm_order.popleft()]
        comm = self._comms[key]
        return f"{comm}[{row.pid}]" if comm else str(row.pid)

    def _comm(self, pid: int, at_ns: int) -> str:
        """Empty where the pid is another process's by now."""
        directory = self._host.process(pid)
        started = started_ns(directory)
        if started is None or started - boot_offset_ns(self._host) > at_ns:
            return ""
        return process_comm(directory) or ""

    def _new_judge(self, names: Names, generation: int) -> Judge:
        return Judge(self._pin_dir, names, generation, self._paths, self._host, self._ask)

    def _agent_pid(self, now: float) -> int | None:
        """Looked for, which takes milliseconds, only while none is known to run."""
        if self._agent is None or self._agent_started != self._started(self._agent):
            self._agent = None
            if now >= self._agent_due:
                self._agent_due = now + AGENT_SECONDS
                self._agent = self._pin_dir.agent_pid()
                self._agent_started = self._started(self._agent) if self._agent else None
        return self._agent

    def _started(self, pid: int) -> int | None:
        return started_ns(self._host.process(pid))

    def _open_pins(self) -> _OpenPins:
        """Those of before, unless others are there by now."""
        try:
            number = (self._pin_dir.maps / "counters").stat().st_ino
        except OSError:
            number = 0
        if self._pins and self._pins.number != number:
            self._pins.close()
            self._pins = None
        if self._pins is None:
            self._pins = _OpenPins(self._pin_dir, number, self._new_judge)
        return self._pins


class _OpenPins:
    """What is opened once for one set of pins, known by the inode of one of them."""

    def __init__(
        self, pin_dir: PinDir, number: int, new_judge: Callable[[Names, int], Judge]
    ) -> None:
        self.number = number
        self._new_judge = new_judge
        self.judge: Judge | None = None
        self.rates = Rates()
        self._generation = 0
        with ExitStack() as stack:
            self.readings = Readings(pin_dir)
            stack.callback(self.readings.close)
            names = pin_dir.open_map("names")
            stack.callback(names.close)
            self.names = Names(names)
            self._stack = stack.pop_all()

    def follow(self, generation: int) -> bool:
        """Read the policy again where it is another; whether it was."""
        if generation == self._generation:
            return False
        self._close_judge()
        if generation:
            try:
                self.judge = self._new_judge(self.names, generation)
            except NotLoaded:  # replaced or removed meanwhile: the next reading tells
                return False
        self._generation = generation
        return True

    def close(self) -> None:
        """Give the maps back."""
        self._close_judge()
        self._stack.close()

    def _close_judge(self) -> None:
        if self.judge:
            self.judge.close()
            self.judge = None
