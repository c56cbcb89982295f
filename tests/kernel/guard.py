"""portwatch at work on one scratch cgroup: publish a policy, then read exactly what it counted."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from pathlib import Path

from portwatch.agent.live_policy import Published
from portwatch.agent.publisher import Publisher, now_stored
from portwatch.kernel import layout, libbpf
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings, Totals
from portwatch.kernel.ringbuf import RingReader
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import CgroupTree
from portwatch.node.netns import HostNetwork
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import Accounts

NO_ACCOUNTS = AccountTable(users={"root": 0, "alice": 1000, "bob": 1001}, groups={"staff": 50})

NOWHERE = HostNetwork()
"""No namespace is the host's by inode; by cookie the initial one is."""

Binds = dict[tuple[str, str, str], int]
"""(verdict, protocol, family) → how many; zeros left out."""

Violations = dict[tuple[str, str, int, str, str], int]
"""(constraint, workload, port, protocol, verdict) → how many; zeros left out."""


class Guard:
    """One pin directory. Its policies see `cgroup` as the hierarchy's root, `/`."""

    def __init__(self, pin_dir: PinDir, cgroup: Path, host_network: HostNetwork = NOWHERE) -> None:
        self.pin_dir = pin_dir
        self.cgroup = cgroup
        self.tree = CgroupTree(cgroup)
        self.publisher = Publisher(pin_dir, self.tree, host_network)
        self._readings = Readings(pin_dir)
        self._events = RingReader(pin_dir.open_map("events"), ctypes.sizeof(layout.Event))
        self._base = self._readings.totals()
        self.reset()

    def close(self) -> None:
        """Give the maps back."""
        self._events.close()
        self._readings.close()
        self.publisher.close()

    def publish(self, text: str, accounts: Accounts = NO_ACCOUNTS) -> Policy:
        """Make this policy the live one, with nothing counted yet."""
        sources = [("policy.yaml", text)]
        policy = parse_policy(sources)
        self.swap(policy, text, accounts)
        self.reset()
        return policy

    def swap(self, policy: Policy, text: str = "", accounts: Accounts = NO_ACCOUNTS) -> Published:
        """Make this policy the live one, the counts going on."""
        stored = now_stored([("policy.yaml", text)], "test", None)
        return self.publisher.publish(policy, stored, accounts)  # type: ignore[arg-type]

    def make(self, path: str) -> Path:
        """A new cgroup at `path`, as policies see it; what is above it is made too."""
        directory = self.cgroup / path.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def reset(self) -> None:
        """Count from here: violations emptied, events thrown away, totals as the new zero."""
        violations = self.pin_dir.open_map("violations")
        for key in list(violations.keys()):
            where = layout.ViolationKey.from_buffer_copy(key)
            if where.constraint or where.workload:
                violations.delete(key)
            else:
                violations.put(key, bytes(layout.Violation()))
        violations.close()
        while self._events.read():
            pass
        self.reset_totals()

    def reset_totals(self) -> None:
        """Count binds from here; violations and events go on."""
        self._base = self._readings.totals()

    def forget_picked(self) -> None:
        """As on a fresh load: no policy so far could refuse a port that the kernel picks."""
        control = self.pin_dir.open_map("control")
        record = layout.Control.from_buffer_copy(control.get(bytes(4)) or b"")
        record.flags = 0
        control.put(bytes(4), bytes(record))
        control.close()

    @property
    def totals(self) -> Totals:
        """Everything that was counted since the last reset."""
        now, base = self._readings.totals(), self._base
        return Totals(
            {key: count - base.binds[key] for key, count in now.binds.items()},
            now.events_lost - base.events_lost,
            now.events_suppressed - base.events_suppressed,
            now.unjudged - base.unjudged,
            now.cgroup_events_lost - base.cgroup_events_lost,
            now.binds_untold - base.binds_untold,
        )

    @property
    def binds(self) -> Binds:
        """The binds counted since the last reset."""
        return {key: count for key, count in self.totals.binds.items() if count}

    def verdicts(self) -> dict[str, int]:
        """The binds counted since the last reset, by verdict alone."""
        sums: dict[str, int] = {}
        for (verdict, _, _), count in self.binds.items():
            sums[verdict] = sums.get(verdict, 0) + count
        return sums

    @property
    def violations(self) -> Violations:
        """The violations map since the last reset, with names for its numbers."""
        names = self.publisher.names
        return {
            (
                names.text(seen.constraint),
                names.text(seen.workload),
                seen.port,
                seen.protocol,
                seen.verdict,
            ): seen.count
            for seen in self._readings.violations()
        }

    @property
    def pending(self) -> int:
        """Violations that are counted and not yet told in an event."""
        return sum(seen.count - seen.reported for seen in self._readings.violations())

    def events(self) -> list[layout.Event]:
        """The violation events since they were last read."""
        return [layout.Event.from_buffer_copy(record) for record in self._records()]

    def _records(self) -> Iterator[bytes]:
        while records := self._events.read():
            yield from records


def locked_violation(guard: Guard, key: layout.ViolationKey) -> layout.Violation | None:
    """One entry of the violations map, consistent in itself; None where there is none."""
    violations = guard.pin_dir.open_map("violations")
    try:
        raw = violations.get(bytes(key), libbpf.LOOKUP_LOCKED)
    finally:
        violations.close()
    return None if raw is None else layout.Violation.from_buffer_copy(raw)


def errno_of(event: layout.Event) -> str:
    """The name of what bind() returned; "ok" where it was let through."""
    return errno.errorcode[event.error] if event.error else "ok"
