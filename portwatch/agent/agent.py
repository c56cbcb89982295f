"""The agent: one loop over the kernel's records, the policy's files, signals and readers.

It is handed everything it uses, prints nothing, and ends when asked to; its end leaves the
kernel as it is.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Sequence
from ctypes import sizeof
from pathlib import Path
from typing import Protocol

from portwatch.agent.cgroup_keeper import CgroupChange
from portwatch.agent.clock import Clock
from portwatch.agent.events.collision_reports import CollisionReports
from portwatch.agent.events.format import EventFormat
from portwatch.agent.events.hub import EventHub, socket_path
from portwatch.agent.events.paced_ring import PacedRing
from portwatch.agent.events.suppressed import SuppressedTail
from portwatch.agent.events.tails import Tails
from portwatch.agent.events.teller import Emit, EventTeller
from portwatch.agent.identity.container_watch import ContainerWatch
from portwatch.agent.memory import give_back_freed
from portwatch.agent.policy_keeper import PolicyKeeper, Remember
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.publisher import Publisher
from portwatch.agent.signals import Signals
from portwatch.agent.state import AgentState
from portwatch.agent.survey.published_map import PublishedMap
from portwatch.agent.survey.runs import SurveyRuns
from portwatch.errors import PortwatchError
from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.kernel.ringbuf import RingReader
from portwatch.kernel.told import ToldRanges
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable
from portwatch.node.service_manager import ServiceManager
from portwatch.node.socket_counts import socket_counts

TICK_SECONDS = 0.5
REST_SECONDS = 2.0
BUSY_SECONDS = 3.0
"""After anything happened, the loop looks around every TICK_SECONDS for that long, and then only
every REST_SECONDS."""

RESCAN_SECONDS = 60.0


class SideWork(Protocol):
    """What is done in the agent's loop, and is not its own work."""

    def join(self, selector: selectors.BaseSelector) -> None:
        """Begin: what becomes readable has a function without arguments as its data."""

    def tick(self) -> None:
        """Called after every wake-up."""

    def close(self) -> None:
        """The loop ends."""


class Agent:
    """Runs on pins that are loaded, with the pin directory's agent lock held by the caller; `path`
    is what others call that directory."""

    def __init__(
        self,
        pin_dir: PinDir,
        path: Path,
        source: PolicySource,
        publisher: Publisher,
        readings: Readings,
        state: AgentState,
        emit: Emit,
        max_series: int,
        containers: ContainerWatch,
        log_binds: bool = False,
        clock: Clock | None = None,
        host: HostPaths | None = None,
        service: ServiceManager | None = None,
        remember: Remember | None = None,
    ) -> None:
        self._publisher = publisher
        self._readings = readings
        self._state = state
        self._containers = containers
        self._clock = clock or Clock()
        self._selector = selectors.DefaultSelector()
        self._hub = EventHub(socket_path(path), self._selector)
        self._teller = EventTeller(state, self._hub, emit, self._clock)
        self.tell = self._teller.tell
        tail = SuppressedTail(ToldRanges(pin_dir.open_map("told")))
        self._tails = Tails(tail, readings, publisher.names, self._teller, self._clock)
        self._format = EventFormat(
            publisher,
            host or HostPaths(),
            ProcessTable(host or HostPaths()),
            self._clock,
            tail.count_of,
        )
        self._host = host or HostPaths()
        self._service = service or ServiceManager()
        self._beside: Sequence[SideWork] = ()
        self._not_told_apart: frozenset[tuple[str, int]] = frozenset()
        self._signals = Signals(self._want_reload)
        totals = readings.totals()
        self._lost_told = totals.events_lost + totals.binds_untold
        self._cgroup_events_lost = readings.totals().cgroup_events_lost
        self._next_look = self._busy_until = 0.0
        self._next_rescan = time.monotonic() + RESCAN_SECONDS
        ring = RingReader(pin_dir.open_map("events"), sizeof(layout.Event))
        self._events = PacedRing(ring, self._selector, self._take_events)
        self._cgroup_events = RingReader(
            pin_dir.open_map("cgroup_events"), sizeof(layout.CgroupEvent)
        )
        self._collisions = CollisionReports(
            readings, publisher.workloads, self._format, self._selector, self.tell
        )
        self._published = PublishedMap(pin_dir.open_map("published"), publisher.slots)
        self._surveys = SurveyRuns(
            str(path),
            max_series,
            self._selector,
            state,
            self.tell,
            self._collisions.surveyed,
            publisher.expect_rewrites,
            lambda: publisher.workloads.book.dump(containers.containers),
            signs=self._signs_of_change,
            keep=self._published.keep,
        )
        self._policy = PolicyKeeper(
            source,
            publisher,
            state,
            self._clock,
            self._selector,
            self.tell,
            self._policy_changed,
            remember,
        )
        publisher.slots.log_binds(log_binds)

    def publish(self, loaded: LoadedPolicy) -> None:
        """Put a checked policy in force and tell of it; PolicyError where it does not fit."""
        self._policy.publish(loaded)

    def refuse(self, err: PortwatchError) -> None:
        """Say that the policy's files are refused, and that what was published stays."""
        self._policy.refuse(err)

    def run(self, beside: Sequence[SideWork] = ()) -> None:
        """Serve until SIGINT or SIGTERM, or an error of what is done `beside` in the same loop."""
        self._signals.join(self._selector)
        self._events.watch()
        for source, handle in (
            (self._cgroup_events, self._read_cgroup_events),
            (self._containers, self._read_containers),
        ):
            self._selector.register(source.fileno(), selectors.EVENT_READ, handle)
        self._read_cgroup_events()
        self._publisher.cgroups.rescan()
        self._beside = beside
        for work in beside:
            work.join(self._selector)
        self._service.ready(self._status())
        give_back_freed()
        while not self._signals.stopping:
            ready = self._selector.select(0 if self._tails.waiting else self._pause())
            if ready:
                self._busy_until = time.monotonic() + BUSY_SECONDS
            for key, _ in ready:
                key.data()
            self._events.tick()
            self._tick()
            for work in beside:
                work.tick()
            self._tails.tell_some()
        self._service.stopping()
        self._drain()

    def _pause(self) -> float:
        """How long the loop may sleep: a wake-up costs half a millisecond."""
        is_busy = time.monotonic() < self._busy_until
        return self._events.pause(TICK_SECONDS if is_busy else REST_SECONDS)

    def pods_changed(self, cgroups: frozenset[str]) -> None:
        """More, or something else, is known of the pods that these cgroups are in."""
        if not self._renew_where_outgrown():
            self._publisher.cgroups.reclassify(cgroups)
        self._format.cgroups_changed()

    def _renew_where_outgrown(self) -> bool:
        """A port that no pod declared before has no place in the tables: all of them anew, before
        the pod's cgroup is classified by them."""
        ports = self._publisher.outgrown_by()
        if ports == self._not_told_apart:
            return False
        self._policy.renew()
        self._not_told_apart = self._publisher.outgrown_by()  # where they did not fit: not again
        return True

    def unready_reason(self) -> str:
        """Why a bind may go unjudged now; empty where a policy is in force and hooks are up."""
        if self._publisher.live is None:
            return "no policy in force yet"
        gone = self._readings.missing_hooks()
        return f"not attached: {', '.join(gone)}" if gone else ""

    def close(self) -> None:
        """Give everything back; what is in the kernel stays."""
        for work in self._beside:
            work.close()
        self._surveys.close()
        self._published.close()
        self._policy.close()
        self._collisions.close()
        self._hub.close()
        self._events.close()
        self._cgroup_events.close()
        self._selector.close()

    def _want_reload(self) -> None:
        self._service.reloading()
        self._policy.want_reload()

    def _signs_of_change(self) -> object:
        """Binds, cgroups and sockets so far: as before, and nobody has begun or ended to listen;
        but for who closes a socket in a network namespace of its own and lives on."""
        live = self._publisher.live
        cgroups = len(live.ids) if live else 0
        return self._readings.totals().binds, cgroups, socket_counts(self._host)

    def _take_events(self, records: list[bytes]) -> None:
        """Tell of these records."""
        self._busy_until = time.monotonic() + BUSY_SECONDS
        self._read_cgroup_events()  # a bind is told of by the name of its cgroup
        self._containers.find_networks()
        for record in records:
            self._take(layout.Event.from_buffer_copy(record))

    def _take(self, raw: layout.Event) -> None:
        """One record; that of a bind whose port may be shared may log it, too."""
        if raw.kind in (layout.EVENT_COLLISION, layout.EVENT_SHARED):
            self._collisions.take(raw)
        elif raw.kind == layout.EVENT_PUBLISHED:
            self._surveys.want_soon(time.monotonic())  # which tells whose the port is
            return
        if raw.kind == layout.EVENT_VIOLATION:
            event = self._format.violation(raw)
            if event is not None:
                self._teller.emit(event)
        elif raw.kind != layout.EVENT_COLLISION and raw.count:
            self._teller.emit(self._format.bind(raw))

    def _read_cgroup_events(self) -> None:
        """All that the ring holds at once: one look at each place, one turn with the lock."""
        records = list(map(layout.CgroupEvent.from_buffer_copy, self._cgroup_events.read()))
        for record in records:
            if not record.removed:
                self._containers.made_by(os.fsdecode(record.path), record.pid)
        self._renew_where_outgrown()
        if any(record.removed for record in records):
            self._format.cgroups_changed()
        self._publisher.cgroups.follow(map(_change, records))

    def _read_containers(self) -> None:
        """What engines say can change who a cgroup is; remembered verdicts go with a new policy."""
        news = self._containers.read()
        live = self._publisher.live
        if news.renamed and live is not None and live.compiled.uses_engines:
            self._policy.renew()
        else:
            self._publisher.cgroups.reclassify(news.cgroups)
        if news.cgroups:
            self._format.cgroups_changed()

    def _policy_changed(self) -> None:
        self._format.policy_changed()
        self._surveys.want()

    def _tick(self) -> None:
        """After every wake-up: what must not wait, and now and then what may."""
        now = time.monotonic()
        if self._policy.tick(now):
            self._service.ready(self._status())
        self._service.alive(now)
        self._surveys.tick(now)
        self._collisions.tick(now)
        if now >= self._next_look:
            self._next_look = now + TICK_SECONDS
            self._look_around(now)

    def _look_around(self, now: float) -> None:
        """See what others published, and what the programs counted as lost or left untold."""
        self._publisher.notice_others()
        self._containers.tick(now)
        self._policy.adopt()
        totals = self._readings.totals()
        lost = totals.events_lost + totals.binds_untold
        if lost > self._lost_told:
            self.tell({"kind": "lost", "count": lost - self._lost_told})
            self._lost_told = lost
        if totals.cgroup_events_lost != self._cgroup_events_lost or now >= self._next_rescan:
            self._cgroup_events_lost = totals.cgroup_events_lost
            self._next_rescan = now + RESCAN_SECONDS
            self._publisher.cgroups.rescan()
            counts = self._readings.violations()
            counted = {n for c in counts for n in (c.constraint, c.workload)}
            counted |= {key.workload for key in self._readings.collisions()}
            counted |= {one.key.workload for one in self._readings.published_binds()}
            self._publisher.workloads.forget(counted)
            give_back_freed()
        self._tails.look(totals)

    def _drain(self) -> None:
        """Tell what is in the buffer already, and the tails of bursts, before the end."""
        self._publisher.slots.log_binds(False)
        while self._events.read():
            pass
        self._collisions.close()
        self._tails.tell_all()

    def _status(self) -> str:
        state = self._state
        said = f"{state.source} in force ({state.mode}), generation {state.generation}"
        return said if state.last_load_successful else f"{said}; the policy's files were refused"


def _change(record: layout.CgroupEvent) -> CgroupChange:
    path = os.fsdecode(record.path)
    is_cut = len(record.path) == layout.CGROUP_PATH_BYTES - 1
    return CgroupChange(path, record.id, bool(record.removed), is_cut)
