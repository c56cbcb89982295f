"""What the programs have counted: read from the maps, never changed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from portwatch.kernel import layout, libbpf
from portwatch.kernel.hook_history import HookHistory, hook_histories
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.loading import link_target, read_meta
from portwatch.kernel.pins import PinDir
from portwatch.kernel.uncovered import uncovered

FIRST = bytes(4)


@dataclass(frozen=True)
class Totals:
    """Sums over all CPUs; `binds` by (verdict, protocol, family) as named in layout.

    A bind to port 0 may be counted as allowed for the instant until its port is judged.
    """

    binds: dict[tuple[str, str, str], int]
    events_lost: int
    events_suppressed: int
    unjudged: int
    cgroup_events_lost: int
    binds_untold: int = 0


@dataclass(frozen=True, slots=True)
class ViolationCount:
    """Violations of one constraint by one workload on one port. `constraint` and `workload` are
    numbers in Names; both 0 for what the map had no room for. Times: boot time in ns."""

    constraint: int
    workload: int
    port: int
    protocol: str
    verdict: str
    count: int
    reported: int
    last_event_ns: int
    first_ns: int
    number: int = 0  # the key as a number, which no other has

    @property
    def is_rest(self) -> bool:
        """Whether it stands for what the map had no room for."""
        return not self.constraint and not self.workload


class CollisionKey(NamedTuple):
    """Who could not have which port: a number in Names, and of layout.PROTOCOL_NAMES. Workload
    and port both 0: what the map had no room for."""

    workload: int
    port: int
    protocol: int


@dataclass(frozen=True, slots=True)
class CollisionCount:
    """Collisions over one port; `first_ns` and `number` as in ViolationCount."""

    key: CollisionKey
    count: int
    first_ns: int
    number: int

    @property
    def is_rest(self) -> bool:
        """Whether it stands for what the map had no room for."""
        return not self.key.workload and not self.key.port


@dataclass(frozen=True, slots=True)
class ObservedBind:
    """Binds alike, let through or not; `pid` and `uid` are the first one's. `port` 0: the kernel
    picks. Times: boot time in ns."""

    cgroup: int
    address: bytes
    pid: int
    uid: int
    port: int
    protocol: str
    dual: bool
    count: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class HookState:
    """One hook: its program loaded or not, attached or not; runs and their time in ns where BPF
    statistics are on; how often it was attached again after somebody had detached it."""

    name: str
    required: bool
    loaded: bool
    attached: bool
    runs: int
    run_ns: int
    reattached: int = 0


class Readings:
    """Reads the maps of one pin directory; safe to use from several threads."""

    def __init__(self, pin_dir: PinDir) -> None:
        self._pin_dir = pin_dir
        self._counters = pin_dir.open_map("counters")
        self._violations = pin_dir.open_map("violations")
        self._observed = pin_dir.open_map("observed")
        self._collisions = pin_dir.open_map("collisions")
        self._hook_history = pin_dir.open_map("hook_history")
        self.features: int = read_meta(pin_dir).features
        control = pin_dir.open_map("control")
        raw = layout.Control.from_buffer_copy(control.get(FIRST) or b"")
        self.on_a_part: bool = raw.cgroup != 0
        control.close()

    def close(self) -> None:
        """Give the maps back."""
        maps = (self._counters, self._violations, self._observed, self._collisions)
        for opened in (*maps, self._hook_history):
            opened.close()

    def totals(self) -> Totals:
        """The per-CPU counters, summed."""
        raw = self._counters.get(FIRST) or b""
        size = ctypes.sizeof(layout.Counters)
        records = [
            layout.Counters.from_buffer_copy(raw, start) for start in range(0, len(raw), size)
        ]
        binds = {
            (verdict, protocol, family): sum(
                record.binds[v][p][f] - record.retracted[v][p][f] for record in records
            )
            for v, verdict in enumerate(layout.VERDICT_NAMES)
            for p, protocol in enumerate(layout.PROTOCOL_NAMES)
            for f, family in enumerate(layout.FAMILY_NAMES)
        }
        return Totals(
            binds,
            events_lost=sum(record.events_lost for record in records),
            events_suppressed=sum(record.events_suppressed for record in records),
            unjudged=sum(record.unjudged for record in records),
            cgroup_events_lost=sum(record.cgroup_events_lost for record in records),
            binds_untold=sum(record.binds_untold for record in records),
        )

    def violations(self) -> Iterator[ViolationCount]:
        """Every count that is not zero, in no order, each consistent in itself."""
        for key, value in self._violations.items(libbpf.LOOKUP_LOCKED):
            where = layout.ViolationKey.from_buffer_copy(key)
            entry = layout.Violation.from_buffer_copy(value)
            if entry.count:
                yield ViolationCount(
                    where.constraint,
                    where.workload,
                    where.port,
                    layout.PROTOCOL_NAMES[where.protocol],
                    layout.VERDICT_NAMES[where.verdict],
                    entry.count,
                    entry.reported,
                    entry.last_event_ns,
                    entry.first_ns,
                    int.from_bytes(key, "little"),
                )

    def collisions(self) -> dict[CollisionKey, int]:
        """How many binds failed with EADDRINUSE; zeros left out."""
        return {found.key: found.count for found in self.collision_counts()}

    def published_binds(self) -> Iterator[CollisionCount]:
        """How many binds went through on a port that NAT gives to somebody else."""
        return self.collision_counts(layout.PORT_PUBLISHED)

    def collision_counts(self, kind: int = layout.PORT_IN_USE) -> Iterator[CollisionCount]:
        """The same, with their ages, in no order."""
        for key, value in self._collisions.items():
            where = layout.CollisionKey.from_buffer_copy(key)
            entry = layout.Collision.from_buffer_copy(value)
            if entry.count and where.kind == kind:
                yield CollisionCount(
                    CollisionKey(where.workload, where.port, where.protocol),
                    entry.count,
                    entry.first_ns,
                    int.from_bytes(key, "little"),
                )

    def collision_count(self, key: CollisionKey) -> int:
        """The same of one workload and port."""
        where = layout.CollisionKey(workload=key.workload, port=key.port, protocol=key.protocol)
        value = self._collisions.get(bytes(where))
        return int(layout.Collision.from_buffer_copy(value).count) if value else 0

    def observed(self) -> list[ObservedBind]:
        """The binds seen lately, in no order."""
        found = []
        for key, value in self._observed.items():
            where = layout.ObservedKey.from_buffer_copy(key)
            seen = layout.Observed.from_buffer_copy(value)
            found.append(
                ObservedBind(
                    where.cgroup,
                    bytes(where.address),
                    seen.pid,
                    seen.uid,
                    where.port,
                    layout.PROTOCOL_NAMES[where.protocol],
                    bool(where.scope & layout.SCOPE_DUAL),
                    seen.count,
                    seen.first_ns,
                    seen.last_ns,
                )
            )
        return found

    def uncovered(self, published_unread: bool = False) -> dict[str, str]:
        """The gaps here; see kernel.uncovered."""
        attached = {hook.name for hook in self.hooks() if hook.attached}
        return uncovered(self.features, attached, self.on_a_part, published_unread)

    def hooks(self) -> list[HookState]:
        """The state of each hook that has a program here, or has to have one; its runs with those
        of the programs that were there before."""
        states = [hook_state(self._pin_dir, hook.name) for hook in HOOKS]
        past = hook_histories(self._hook_history)
        return [
            replace(
                state,
                runs=state.runs + before.runs,
                run_ns=state.run_ns + before.run_ns,
                reattached=before.reattached,
            )
            for state in states
            if state.loaded or state.required
            for before in [past.get(state.name, HookHistory())]
        ]

    def missing_hooks(self) -> list[str]:
        """Hooks without which a bind may go unjudged, and that are not attached."""
        return [hook.name for hook in self.hooks() if hook.required and not hook.attached]


def hook_state(pin_dir: PinDir, name: str) -> HookState:
    """The state of one hook by its pins."""
    hook = next(hook for hook in HOOKS if hook.name == name)
    attached = link_target(pin_dir, hook) is not None
    try:
        fd = libbpf.object_get(str(pin_dir.programs / name))
    except OSError:
        return HookState(name, hook.required, False, attached, 0, 0)
    try:
        info = libbpf.object_info(fd, libbpf.ProgramInfo())
    finally:
        os.close(fd)
    return HookState(name, hook.required, True, attached, info.run_cnt, info.run_time_ns)
