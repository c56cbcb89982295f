"""What a policy says of every port, for one subject: exact ranges, from the kernel's own tables.

Worked out once for each kind of subject and policy, and kept for the next look, bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portwatch.policy.tables.compile import (
    NOT_UNIFORM,
    CompiledPolicy,
    SubjectRow,
    class_of_address,
)
from portwatch.policy.tables.outcomes import Outcome
from portwatch.policy.tables.runs import Run, port_runs
from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import Subject

MAX_KINDS = 256
MAX_KEPT_REGIONS = 20_000
SHOWN_PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Region:
    """Ports of one outcome. `varies`: on some other address the verdict is another."""

    first: int
    last: int
    outcome: Outcome
    varies: bool


@dataclass(frozen=True, slots=True)
class PortMap:
    """The regions of 1-65535, in order, and what becomes of a bind to port 0."""

    tcp: tuple[Region, ...]
    udp: tuple[Region, ...]
    picked: Outcome


Kind = tuple[int, int, int, bool, int]
"""Cgroup signature, user class, group class, host network, address class."""


class PortMaps:
    """The port maps of one policy; safe to use from several threads."""

    def __init__(self, compiled: CompiledPolicy) -> None:
        self.compiled = compiled
        self._runs: dict[str, list[Run]] = {protocol: [] for protocol in SHOWN_PROTOCOLS}
        for run in port_runs(compiled):
            if run.protocol in self._runs:
                self._runs[run.protocol].append(run)
        self._known: OrderedDict[Kind, PortMap] = OrderedDict()
        self._regions = 0
        self._lock = threading.Lock()

    def of(self, subject: Subject, address: Address) -> PortMap:
        """What the subject gets on that address."""
        compiled = self.compiled
        kind = (
            compiled.cgroup_signature(subject.cgroup, subject.container),
            compiled.user_classes.get(subject.uid, 0),
            compiled.group_classes.get(subject.gid, 0),
            subject.host_network,
            class_of_address(compiled, address),
        )
        with self._lock:
            known = self._known.get(kind)
            if known is None:
                known = self._work_out(compiled.subject_row(*kind[:4]), kind[4])
                self._keep(kind, known)
            self._known.move_to_end(kind)
            return known

    def _keep(self, kind: Kind, made: PortMap) -> None:
        self._known[kind] = made
        self._regions += len(made.tcp) + len(made.udp)
        while len(self._known) > 1 and (
            len(self._known) > MAX_KINDS or self._regions > MAX_KEPT_REGIONS
        ):
            _, dropped = self._known.popitem(last=False)
            self._regions -= len(dropped.tcp) + len(dropped.udp)

    def _work_out(self, row: SubjectRow, address_class: int) -> PortMap:
        compiled = self.compiled
        numbers = [
            row.decisions[index] if uniform == NOT_UNIFORM else uniform
            for index, uniform in enumerate(compiled.uniform)
        ]
        verdicts = [compiled.outcomes[number].verdict for number in numbers]
        width = compiled.address_class_count
        found: dict[int, tuple[Outcome, bool]] = {}

        def outcome(port_class: int) -> tuple[Outcome, bool]:
            if port_class not in found:
                cells = compiled.endpoint_classes[port_class * width : (port_class + 1) * width]
                here = cells[address_class]
                varies = width > 1 and any(verdicts[cell] != verdicts[here] for cell in cells)
                found[port_class] = compiled.outcomes[numbers[here]], varies
            return found[port_class]

        tcp, udp = (
            tuple(_merged((run, *outcome(run.port_class)) for run in self._runs[protocol]))
            for protocol in SHOWN_PROTOCOLS
        )
        return PortMap(tcp, udp, outcome(compiled.port_classes[0])[0])


def _merged(runs: Iterable[tuple[Run, Outcome, bool]]) -> Iterator[Region]:
    """Neighbours of one outcome as one region."""
    first, last, current = 0, 0, None
    for run, outcome, varies in runs:
        told = (outcome if outcome.verdict else None, varies)  # allowed is allowed, by whomever
        if current is not None and current[0] == told:
            last = run.last
            continue
        if current is not None:
            yield Region(first, last, current[1], current[0][1])
        first, last, current = run.first, run.last, (told, outcome)
    if current is not None:
        yield Region(first, last, current[1], current[0][1])
