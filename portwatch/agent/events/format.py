"""From the kernel's record of a violation to the event that users read (CONTRACT §4).

Keys are stable; what is not known is absent.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from typing import Any, NamedTuple

from portwatch.agent.clock import Clock, iso
from portwatch.agent.events.process import binding_process
from portwatch.agent.events.workload import network_parts
from portwatch.agent.publisher import Publisher
from portwatch.kernel import layout
from portwatch.node.cgroups import cgroup_of_process
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable
from portwatch.policy.words.ports import judged_as
from portwatch.policy.workload import declared_ports

Event = dict[str, Any]
MAPPED = bytes(10) + b"\xff\xff"
REMEMBERED_CGROUPS = 4096


def address_text(address: bytes) -> str:
    """16 bytes in network order as people write them; an IPv4-mapped one as its IPv4."""
    if address.startswith(MAPPED):
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))


class _Cgroup(NamedTuple):
    """Its part of an event's workload, and what its pod declares; None where no pod is known."""

    parts: Event
    declared: frozenset[tuple[str, int]] | None = None


class EventFormat:
    """Makes events of records, asking /proc while the process may still be there."""

    def __init__(
        self,
        publisher: Publisher,
        host: HostPaths,
        processes: ProcessTable,
        clock: Clock,
        count_of: Callable[[layout.Event], int],
    ) -> None:
        self._publisher = publisher
        self._host = host
        self._processes = processes
        self._clock = clock
        self._count_of = count_of
        self._cgroups: dict[int, _Cgroup] = {}
        self._addresses: dict[bytes, str] = {}
        self._reasons: dict[int, dict[str, str]] = {}

    def policy_changed(self) -> None:
        """Remember the reasons of the new policy, and of the last for events still under way."""
        live = self._publisher.live
        if live is None:
            return
        reasons = {c.name: c.reason for c in live.policy.constraints if c.reason}
        if live.policy.reason:
            reasons.setdefault("default", live.policy.reason)
        last = sorted(self._reasons)[-1:]
        self._reasons = {generation: self._reasons[generation] for generation in last}
        self._reasons[live.generation] = reasons

    def cgroups_changed(self) -> None:
        """Forget what was remembered: some are gone, or more is known of their containers."""
        self._cgroups.clear()

    def violation(self, raw: layout.Event) -> Event | None:
        """The event of one record; None where its violations were all told before."""
        count = self._count_of(raw)
        if count <= 0:
            return None
        constraint = self._publisher.names.text(raw.constraint)
        event: Event = {
            "time": iso(self._clock.wall_ns_of(raw.time_ns)),
            "kind": "violation",
            "verdict": layout.VERDICT_NAMES[raw.verdict],
            "constraint": constraint,
        }
        reason = self._reasons.get(raw.generation, {}).get(constraint)
        if reason:
            event["reason"] = reason
        if raw.error:
            event["errno"] = errno.errorcode[raw.error]
        return {**event, **self.facts(raw), "count": count}

    def bind(self, raw: layout.Event) -> Event:
        """The event of binds that were let through."""
        return {
            "time": iso(self._clock.wall_ns_of(raw.time_ns)),
            "kind": "bind",
            "verdict": layout.VERDICT_NAMES[raw.verdict],
            **self.facts(raw),
            "count": int(raw.count),
        }

    def facts(self, raw: layout.Event) -> Event:
        """What was bound, and by whom: the part that every event about a bind has."""
        cgroup = self._cgroup(raw)
        facts: Event = {"bind": self._bind(raw, cgroup)}
        if raw.socket_cgroup and raw.socket_cgroup != raw.cgroup:
            made_in = self._publisher.cgroups.path_of(raw.socket_cgroup)
            if made_in is not None:
                facts["socket_workload"] = self._publisher.workloads.workload_parts(made_in)
        facts["workload"] = {"name": self._name(raw, cgroup.parts), **cgroup.parts}
        facts["process"] = binding_process(raw, self._processes)
        return facts

    def _bind(self, raw: layout.Event, cgroup: _Cgroup) -> Event:
        facts = {
            "protocol": layout.PROTOCOL_NAMES[raw.label],
            "family": layout.FAMILY_NAMES[raw.family],
            "address": self._address(bytes(raw.address)),
            "port": raw.port,
            "requested_port": raw.requested_port,
        }
        is_dual = raw.scope & layout.SCOPE_DUAL
        if facts["family"] == "ipv6" and facts["address"] == "::" and not is_dual:
            facts["v6only"] = True
        if cgroup.declared is not None:
            protocol = judged_as(layout.PROTOCOL_NAMES[raw.label])
            facts["declared"] = (protocol, raw.port) in cgroup.declared
        return facts | self._network(raw)

    def _network(self, raw: layout.Event) -> Event:
        is_host = bool(raw.flags & layout.EVENT_HOST_NETWORK)
        return network_parts(raw.netns_inode, is_host, self._publisher.workloads.book)

    def _address(self, address: bytes) -> str:
        known = self._addresses.get(address)
        if known is None:
            if len(self._addresses) > REMEMBERED_CGROUPS:
                self._addresses.clear()
            known = self._addresses[address] = address_text(address)
        return known

    def _cgroup(self, raw: layout.Event) -> _Cgroup:
        known = self._cgroups.get(raw.cgroup)
        if known is None:
            path = self._publisher.cgroups.path_of(raw.cgroup) or self._unclassified(raw)
            if path is None:
                return _Cgroup({})
            known = self._cgroups[raw.cgroup] = self._cgroup_at(path)
        return known

    def _cgroup_at(self, path: str) -> _Cgroup:
        workloads = self._publisher.workloads
        container = workloads.book.known(path)
        has_pod = container is not None and container.pod is not None
        declared = declared_ports(path, container) if has_pod else None
        return _Cgroup(workloads.workload_parts(path), declared)

    def _unclassified(self, raw: layout.Event) -> str | None:
        """The path of a cgroup that no table has; never that of another process with its pid."""
        path = cgroup_of_process(self._host, raw.pid)
        return path if path and self._publisher.cgroups.is_at(path, raw.cgroup) else None

    def _name(self, raw: layout.Event, known: Event) -> str:
        """The programs look nobody up where no constraint needs to know who it is."""
        if raw.workload or "cgroup" not in known:
            return self._publisher.names.text(raw.workload)
        is_host = bool(raw.flags & layout.EVENT_HOST_NETWORK)
        return self._publisher.workloads.workload_name(known["cgroup"], raw.uid, raw.gid, is_host)
