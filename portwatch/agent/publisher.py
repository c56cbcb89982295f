"""Puts a policy into the kernel, atomically, and keeps its cgroups classified.

The `portwatch load` and `apply` commands use it for one swap, the agent for its whole life.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from portwatch.agent.subjects import Subjects, SubjectsFull
from portwatch.errors import PolicyError, Problem
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.generations import forget_all_but
from portwatch.kernel.names import Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.slots import Slots
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import CgroupTree
from portwatch.policy.compile import CompiledPolicy, compile_policy
from portwatch.policy.model import Mode, Policy
from portwatch.policy.workload import systemd_units

log = logging.getLogger(__name__)

ADDRESS_KEY_BITS = 32  # the generation stands before the address
GENERATION_MAPS = ("addresses", "cgroups", "accounts", "policy")


def cgroup_name(path: str) -> str:
    """What a cgroup is called where no defined workload matches: its innermost unit, or a path."""
    units, _ = systemd_units(path)
    return units[-1] if units else path


@dataclass(frozen=True)
class Published:
    """One policy that is, or was, live."""

    generation: int
    policy: Policy
    compiled: CompiledPolicy
    subjects: Subjects
    workload_numbers: dict[str, int]


class Publisher:
    """Holds the maps of one pin directory. Its methods take the pin directory's lock."""

    def __init__(self, pin_dir: PinDir, tree: CgroupTree, host_netns_cookie: int | None) -> None:
        self._pin_dir = pin_dir
        self._tree = tree
        self._host_netns_cookie = host_netns_cookie or 0
        self.slots = Slots(pin_dir)
        self._maps: dict[str, BpfMap] = {name: pin_dir.open_map(name) for name in GENERATION_MAPS}
        self._names_map = pin_dir.open_map("names")
        self.names = Names(self._names_map)
        self.cgroups: dict[str, int] = {}
        self.unclassified = 0
        self.live: Published | None = None

    def close(self) -> None:
        """Give the maps back; what is published stays."""
        self.slots.close()
        for opened in (*self._maps.values(), self._names_map):
            opened.close()

    def stored(self) -> StoredPolicy | None:
        """The live policy's text; None where no policy is live."""
        return StoredPolicy.read(self._maps["policy"], self.slots.generation)

    def superseded(self) -> bool:
        """Whether another process has published since."""
        return self.live is None or self.slots.generation != self.live.generation

    def publish(self, policy: Policy, stored: StoredPolicy, accounts: AccountTable) -> Published:
        """Compile and swap. PolicyError where it does not fit; the old one then stays live."""
        compiled = compile_policy(policy, accounts)
        with self._pin_dir.changing():
            previous = self.slots.generation
            generation = self.slots.next_generation()
            if self.superseded():  # nobody told us that the idle slot's readers are gone
                self.slots.wait_for_readers()
                self._forget_all_but(previous)
            published = self._fill(generation, policy, compiled)
            stored.write(self._maps["policy"], generation)
            flags = layout.CONTROL_PICKED if compiled.uses_picked else 0
            self.slots.publish(generation, flags)
            self.live = published
            self.slots.wait_for_readers()
            self._forget_all_but(generation)
        return published

    def classify(self, path: str) -> bool:
        """Enter a new cgroup into the live policy; False where it is gone already."""
        number = self._tree.id_of(path)
        if number is None or self.live is None:
            return False
        with self._pin_dir.changing():
            if not self.superseded():
                self._enter({path: number}, self.live, self.slots.slot(self.live.generation))
        return True

    def forget(self, path: str) -> None:
        """Drop a cgroup that is gone, and everything below it."""
        assert self.live is not None
        below = path.rstrip("/") + "/"
        for gone in [p for p in self.cgroups if p == path or p.startswith(below)]:
            self._drop(gone, self.live.generation)

    def rescan(self) -> None:
        """Compare with the hierarchy as it is, where events may have been missed."""
        if self.live is None:
            return
        found = self._tree.scan()
        for path, number in list(self.cgroups.items()):
            if found.get(path) != number:
                self._drop(path, self.live.generation)
        fresh = {path: number for path, number in found.items() if path not in self.cgroups}
        if fresh:
            with self._pin_dir.changing():
                if not self.superseded():
                    self._enter(fresh, self.live, self.slots.slot(self.live.generation))

    def path_of(self, cgroup: int) -> str | None:
        """The path of a cgroup id; None where it is not known here."""
        return self._paths.get(cgroup)

    @property
    def map_fill(self) -> dict[str, tuple[int, int]]:
        """Entries and capacity of what is filled from here, by map name."""
        if self.live is None:
            return {}
        compiled = self.live.compiled
        return {
            "cgroups": (len(self.cgroups), self._maps["cgroups"].max_entries // 2),
            "addresses": (len(compiled.address_classes), self._maps["addresses"].max_entries // 2),
            "accounts": (
                len(compiled.user_classes) + len(compiled.group_classes),
                self._maps["accounts"].max_entries // 2,
            ),
            "names": (len(self.names), self._names_map.max_entries),
            "subject_rows": (self.live.subjects.row_count, self.live.subjects.row_capacity),
            "endpoint_classes": (compiled.endpoint_class_count, layout.MAX_ENDPOINTS),
        }

    def _fill(self, generation: int, policy: Policy, compiled: CompiledPolicy) -> Published:
        """Write everything of a policy under a generation that nobody reads yet."""
        constraint_names = {outcome.constraint or "" for outcome in compiled.outcomes[1:]}
        workload_names = [workload.name for workload in policy.workloads]
        numbers = self.names.numbers([*constraint_names, *workload_names])
        subjects = Subjects(compiled, numbers)
        published = Published(generation, policy, compiled, subjects, numbers)
        tables = self.slots.slot(generation)
        tables.generation = 0  # unreadable until it is whole
        self._write_header(tables, compiled)
        _write_outcomes(tables, compiled, numbers)
        _copy(tables.ports, compiled.port_classes)
        _copy(tables.cross, compiled.endpoint_classes)
        _copy(tables.uniform, compiled.uniform)
        self._write_addresses(generation, compiled)
        self._write_accounts(generation, compiled)
        self.cgroups = {}
        self._paths: dict[int, str] = {}
        try:
            subjects.class_of("/", tables)
        except SubjectsFull as err:
            raise PolicyError([Problem(policy.source, 1, 1, f"too much: {err.what}")]) from err
        self._enter(self._tree.scan(), published, tables)
        tables.generation = generation
        return published

    def _write_header(self, tables: layout.Tables, compiled: CompiledPolicy) -> None:
        tables.host_netns_cookie = self._host_netns_cookie
        uses = {
            layout.USES_ADDRESSES: compiled.uses_addresses,
            layout.USES_USERS: compiled.uses_users,
            layout.USES_GROUPS: compiled.uses_groups,
            layout.USES_NETWORK: compiled.uses_network,
        }
        tables.flags = sum(flag for flag, used in uses.items() if used)
        tables.address_classes = compiled.address_class_count
        tables.endpoints = compiled.endpoint_class_count
        tables.user_classes = compiled.user_class_count
        tables.group_classes = compiled.group_class_count
        tables.default_address = compiled.default_address_class
        tables.dual_address = compiled.dual_address_class

    def _write_addresses(self, generation: int, compiled: CompiledPolicy) -> None:
        pairs = []
        for bits, address, number in compiled.address_classes:
            key = layout.AddressKey(
                prefix_bits=ADDRESS_KEY_BITS + bits,
                generation=generation,
                address=(ctypes.c_uint8 * 16)(*address),
            )
            pairs.append((bytes(key), number.to_bytes(4, "little")))
        self._maps["addresses"].put_all(pairs)

    def _write_accounts(self, generation: int, compiled: CompiledPolicy) -> None:
        pairs = []
        for is_group, classes in enumerate((compiled.user_classes, compiled.group_classes)):
            for number, class_number in classes.items():
                key = layout.AccountKey(generation=generation, id=number, is_group=is_group)
                pairs.append((bytes(key), class_number.to_bytes(4, "little")))
        self._maps["accounts"].put_all(pairs)

    def _enter(self, found: dict[str, int], published: Published, tables: layout.Tables) -> None:
        """Classify cgroups; one that does not fit is left to its nearest known ancestor."""
        workloads = self.names.numbers(cgroup_name(path) for path in found)
        pairs = []
        for path, number in found.items():
            try:
                class_number = published.subjects.class_of(path, tables)
            except SubjectsFull as err:
                self.unclassified += 1
                log.warning("cgroup %s keeps its parent's constraints: %s", path, err.what)
                continue
            key = layout.CgroupKey(id=number, generation=published.generation)
            value = layout.CgroupClass(class_=class_number, workload=workloads[cgroup_name(path)])
            pairs.append((bytes(key), bytes(value)))
            self.cgroups[path] = number
            self._paths[number] = path
        try:
            self._maps["cgroups"].put_all(pairs)
        except OSError as err:
            if err.errno not in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
                raise
            self.unclassified += len(pairs)
            log.warning("the table of cgroups is full: the rest keep their parents' constraints")

    def _drop(self, path: str, generation: int) -> None:
        number = self.cgroups.pop(path)
        self._paths.pop(number, None)
        self._maps["cgroups"].delete(bytes(layout.CgroupKey(id=number, generation=generation)))

    def _forget_all_but(self, generation: int) -> None:
        for opened in self._maps.values():
            forget_all_but(opened, generation)


def _write_outcomes(
    tables: layout.Tables, compiled: CompiledPolicy, numbers: dict[str, int]
) -> None:
    for index, outcome in enumerate(compiled.outcomes):
        record = tables.outcomes[index]
        record.constraint = numbers[outcome.constraint] if outcome.constraint else 0
        record.verdict = outcome.verdict
        record.error = getattr(errno, outcome.errno) if outcome.errno else 0


def _copy(target: ctypes.Array[ctypes.c_uint16], source: array[int]) -> None:
    ctypes.memmove(target, (ctypes.c_char * (len(source) * 2)).from_buffer(source), len(source) * 2)


def now_stored(
    sources: Iterable[tuple[str, str | bytes]], origin: str, mode: Mode | None
) -> StoredPolicy:
    """What to store of a policy that is published now."""
    texts = tuple(
        (name, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        for name, text in sources
    )
    return StoredPolicy(texts, origin, mode, time.time())
