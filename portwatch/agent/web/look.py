"""Takes the view that a page shows: from the kernel's maps, the policy in force and the state.

Called in the web server's threads: it changes nothing, and takes the policy in force once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from portwatch.agent.clock import Clock
from portwatch.agent.live_policy import Published
from portwatch.agent.publisher import Publisher
from portwatch.agent.running import RunningProcess, processes_in, running_process
from portwatch.agent.state import AgentState
from portwatch.agent.web.view import InForce, Resident, SeenCollision, SeenViolation, View
from portwatch.kernel import layout
from portwatch.kernel.names import cut
from portwatch.kernel.readings import Readings, ViolationCount
from portwatch.node.cgroups import CgroupTree
from portwatch.node.namespaces import local_ports
from portwatch.node.netns import host_network_inode
from portwatch.node.paths import HostPaths
from portwatch.policy.tables.outcomes import DENIED

MAX_RESIDENTS = 4096
"""Cgroups that are looked at by name; the others are known by what they are called."""

MAX_PROCESSES = 16
MAX_VIOLATIONS = 2000
MAX_COLLISIONS = 500


@dataclass(frozen=True)
class Outlook:
    """What a running agent's pages look at."""

    publisher: Publisher
    readings: Readings
    state: AgentState
    tree: CgroupTree
    host: HostPaths
    clock: Clock

    def look(self) -> View:
        """Everything as it is now."""
        live, state = self.publisher.live, self.state
        totals, hooks = self.readings.totals(), tuple(self.readings.hooks())
        violations, kinds = self._violations()
        collisions, collision_kinds = self._collisions()
        host_network = host_network_inode(self.host)
        binds: dict[str, int] = {}
        for (verdict, _, _), count in totals.binds.items():
            binds[verdict] = binds.get(verdict, 0) + count
        return View(
            now_seconds=time.time(),
            in_force=_in_force(live, state) if live else None,
            enforcing_policy=live is not None and _can_deny(live),
            missing_hooks=tuple(hook.name for hook in hooks if hook.required and not hook.attached),
            hooks=hooks,
            gaps=self.readings.uncovered(state.published_unread),
            refusal=state.refusal,
            binds=binds,
            events_lost=totals.events_lost,
            events_suppressed=totals.events_suppressed,
            unjudged=totals.unjudged,
            violations=violations,
            violation_kinds=kinds,
            collisions=collisions,
            collision_kinds=collision_kinds,
            listeners=tuple(
                ((cut(series[0]), *series[1:]), count) for series, count in state.listeners
            ),
            published=tuple(span for span in state.published_spans if span[0] == host_network),
            surveyed_seconds=state.listeners_surveyed_seconds,
            residents=self._residents(live) if live else {},
            local_ports=local_ports(self.host),
        )

    def processes(self, cgroup: str) -> list[RunningProcess]:
        """The first ones in a cgroup, by number; where there is none, those below it."""
        procs = self.tree.mount_point / cgroup.lstrip("/") / "cgroup.procs"
        try:
            pids = sorted(int(pid) for pid in procs.read_bytes().split())
        except (OSError, ValueError):  # it is gone, of threads only, or has no such path
            return []
        found = (running_process(self.host, pid) for pid in pids[:MAX_PROCESSES] if pid)
        own = [process for process in found if process is not None]
        return own or processes_in(self.tree, self.host, cgroup)

    def _violations(self) -> tuple[tuple[SeenViolation, ...], int]:
        """The last MAX_VIOLATIONS, and how many there are."""
        counted = 0

        def each() -> Iterable[ViolationCount]:
            nonlocal counted
            for entry in self.readings.violations():
                counted += 1
                yield entry

        last = heapq.nlargest(MAX_VIOLATIONS, each(), key=lambda entry: entry.last_event_ns)
        now_ns, text = self.clock.boot_ns(), self.publisher.names.text
        return tuple(
            SeenViolation(
                text(entry.constraint),
                text(entry.workload),
                entry.protocol,
                entry.port if entry.constraint or entry.workload else None,
                entry.verdict,
                entry.count,
                max(now_ns - entry.last_event_ns, 0) / 1e9,
            )
            for entry in last
        ), counted

    def _collisions(self) -> tuple[tuple[SeenCollision, ...], int]:
        """Those that happened most, and how many kinds there are."""
        counts = self.readings.collisions()
        most = heapq.nlargest(MAX_COLLISIONS, counts.items(), key=lambda item: item[1])
        return tuple(
            SeenCollision(
                self.publisher.names.text(key.workload),
                layout.PROTOCOL_NAMES[key.protocol],
                key.port if key.workload or key.port else None,
                count,
            )
            for key, count in most
        ), len(counts)

    def _residents(self, live: Published) -> dict[str, Resident]:
        """The first cgroup of each name, as the kernel's counts have it: a long one is cut."""
        compiled, book = live.compiled, self.publisher.workloads.book
        found: dict[str, Resident] = {}
        for path in islice(list(live.ids), MAX_RESIDENTS):
            container = book.known(path)
            signature = compiled.cgroup_signature(path, container)
            name = compiled.workload(signature, 0, 0) or self.publisher.workloads.shown_name(path)
            found.setdefault(cut(name), Resident(path, container))
        return found


def _can_deny(live: Published) -> bool:
    return any(outcome.verdict == DENIED for outcome in live.compiled.outcomes)


def _in_force(live: Published, state: AgentState) -> InForce:
    return InForce(
        live.generation,
        live.policy,
        live.compiled,
        live.accounts,
        state.source,
        state.last_load_success_seconds,
    )
