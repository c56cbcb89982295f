"""Puts a policy into the kernel, atomically, and keeps its cgroups classified.

The `portwatch load` and `apply` commands use it for one swap, the agent for its whole life.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from portwatch.agent.events.workload import shown_name, workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.policy_records import (
    account_pairs,
    address_pairs,
    cgroup_pair,
    write_tables,
)
from portwatch.agent.subjects import Subjects, SubjectsFull
from portwatch.errors import PolicyError, Problem
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.foreign import others_run_after, own_programs
from portwatch.kernel.generations import GENERATION_OFFSETS, forget_all_but
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.loading import link_target
from portwatch.kernel.names import Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.slots import Slots
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import CgroupTree
from portwatch.node.netns import HostNetwork
from portwatch.policy.model import DEFAULT_NAME, Mode, Policy
from portwatch.policy.tables.compile import CompiledPolicy, compile_policy

log = logging.getLogger(__name__)

MANY_NAMES = 16384
MAX_DEPARTED = 1024
MAP_IS_FULL = (errno.E2BIG, errno.ENOSPC, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class CgroupChange:
    """A cgroup was made, or removed. `number`: its id, 0 where the kernel does not tell, and then
    the path may be one of another hierarchy. `is_cut`: the path was too long for the record."""

    path: str
    number: int
    removed: bool
    is_cut: bool = False


class FollowsCgroups(Protocol):
    """Who wants to know which cgroups there are: agent.container_watch.ContainerWatch."""

    def seen(self, paths: Iterable[str]) -> None:
        """These are there, some of them perhaps not for the first time."""

    def gone(self, path: str) -> None:
        """This one is there no more."""


@dataclass
class Published:
    """One policy that is, or was, live, and the cgroups that are classified under it."""

    generation: int
    policy: Policy
    compiled: CompiledPolicy
    subjects: Subjects
    ids: dict[str, int] = field(default_factory=dict)  # cgroup path → id
    paths: dict[int, str] = field(default_factory=dict)

    def remember(self, path: str, number: int) -> None:
        """The cgroup at `path` has this id and is classified."""
        self.ids[path] = number
        self.paths[number] = path


class Publisher:
    """Holds the maps of one pin directory. What changes them takes the directory's lock."""

    def __init__(
        self,
        pin_dir: PinDir,
        tree: CgroupTree,
        host_network: HostNetwork,
        book: ContainerBook | None = None,
        follower: FollowsCgroups | None = None,
    ) -> None:
        self._pin_dir = pin_dir
        self._tree = tree
        self.book = book or ContainerBook()
        self._follower = follower
        self._host_network = host_network
        self.slots = Slots(pin_dir)
        self._maps: dict[str, BpfMap] = {
            name: pin_dir.open_map(name) for name in GENERATION_OFFSETS
        }
        self._names_map = pin_dir.open_map("names")
        self.names = Names(self._names_map)
        self._departed: OrderedDict[int, str] = OrderedDict()  # ids are not given twice
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
                self.names.reload()
            try:
                published = self._fill(generation, policy, compiled)
                stored.write(self._maps["policy"], generation)
            except BaseException:
                self._forget_all_but(previous)
                raise
            flags = layout.CONTROL_PICKED if compiled.uses_picked else 0
            flags |= layout.CONTROL_SCOPES if compiled.uses_addresses else 0
            self.slots.publish(generation, flags)
            before, self.live = self.live, published
            self.slots.wait_for_readers()
            self._forget_all_but(generation)
        for path in before.ids.keys() - published.ids.keys() if before else ():
            self._gone(path)
        self.notice_others()
        return published

    def notice_others(self) -> None:
        """Have ports judged again after the bind where another's program may have changed them."""
        target = link_target(self._pin_dir, HOOKS[0])
        path = self.path_of(target) if target else None
        if path is None:
            return
        cgroup = self._tree.mount_point / path.lstrip("/")
        try:
            if others_run_after(cgroup, self._tree.mount_point, own_programs(self._pin_dir)):
                self.slots.add_flags(layout.CONTROL_FOREIGN)
        except PermissionError:  # who may not look takes it that there are some
            self.slots.add_flags(layout.CONTROL_FOREIGN)
        except OSError:
            pass  # it is going, or we are: nothing to judge any more

    def classify(self, path: str) -> bool:
        """Enter a new cgroup into the live policy; False where it is gone already.

        A place that was another cgroup's, whose removal was missed, is that one's no more.
        """
        return path in self.classify_all([path])

    def follow(self, changes: Iterable[CgroupChange]) -> None:
        """Take what the kernel says of cgroups that were made and removed, in its order."""
        made: dict[str, int] = {}
        unsure = []
        for change in changes:
            if not change.number or change.is_cut or not self._tree.is_whole:
                unsure.append(change.path)
            elif change.removed:
                self._depart(change)
                if made.get(change.path) == change.number:
                    del made[change.path]
            else:
                made[change.path] = change.number
        if self.live is not None:
            known = self.live.ids
            for path, number in made.items():
                if known.get(path, number) != number:
                    self._drop(path, self.live)
            fresh = {path: number for path, number in made.items() if path not in known}
            if fresh:
                self._enter_live(fresh)
        if unsure:
            self.classify_all(unsure)

    def classify_all(self, paths: Iterable[str]) -> dict[str, int]:
        """Look again at places where cgroups were made or removed: what is gone is dropped, what
        is new is entered at once. Path → id of those that are there."""
        there: dict[str, int] = {}
        for path in dict.fromkeys(paths):
            self.forget(path)
            number = self._tree.id_of(path)
            if number is not None:
                there[path] = number
        if self.live is not None:
            fresh = {path: number for path, number in there.items() if path not in self.live.ids}
            if fresh:
                self._enter_live(fresh)
        return there

    def reclassify(self, paths: Iterable[str]) -> None:
        """Enter cgroups anew of which more has been learned."""
        live = self.live
        if live is not None:
            self._enter_live({path: live.ids[path] for path in paths if path in live.ids})

    def forget(self, path: str) -> None:
        """Drop a cgroup that is gone; in hybrid mode one of that name may be gone elsewhere."""
        if self.live is None or path not in self.live.ids:
            return
        if self._tree.id_of(path) != self.live.ids[path]:
            self._drop(path, self.live)

    def rescan(self) -> None:
        """Compare with the hierarchy as it is, where events may have been missed."""
        if self.live is None:
            return
        found = self._tree.scan()
        for path, number in list(self.live.ids.items()):
            if found.get(path) != number:
                self._drop(path, self.live)
        fresh = {path: number for path, number in found.items() if path not in self.live.ids}
        if fresh:
            self._enter_live(fresh)

    def forget_names(self, counted: Iterable[int]) -> None:
        """Drop the names that neither a count, a cgroup nor the policy refers to, once they are
        many: workloads that came and went."""
        if self.live is None or len(self.names) < MANY_NAMES:
            return
        with self._pin_dir.changing():
            if self.superseded():
                return
            policy = self.live.policy
            used = [c.name for c in policy.constraints] + [w.name for w in policy.workloads]
            used += [DEFAULT_NAME, *map(self.shown_name, self.live.ids)]
            self.names.forget_all_but({*counted, *self.names.known_numbers(used)})

    def path_of(self, cgroup: int) -> str | None:
        """The path of a cgroup id, also of one that has just gone; None where it is not known."""
        here = self.live.paths.get(cgroup) if self.live else None
        return here or self._departed.get(cgroup)

    def is_at(self, path: str, cgroup: int) -> bool:
        """Whether the cgroup at `path` now is the one with this id."""
        return self._tree.id_of(path) == cgroup

    def shown_name(self, path: str) -> str:
        """What a cgroup is called where no defined workload matches."""
        return shown_name(path, self.book)

    def workload_parts(self, path: str) -> dict[str, Any]:
        """Who a cgroup is, as events have it."""
        return workload_parts(path, self.book)

    def workload_name(self, cgroup: str, uid: int, gid: int, host_network: bool) -> str:
        """What the policy in force calls a process, as the programs do."""
        if self.live is None:
            return self.shown_name(cgroup)
        compiled = self.live.compiled
        signature = compiled.cgroup_signature(cgroup, self.book.known(cgroup))
        user, group = compiled.user_classes.get(uid, 0), compiled.group_classes.get(gid, 0)
        row = compiled.subject_row(signature, user, group, host_network)
        return row.workload or self.shown_name(cgroup)

    @property
    def map_fill(self) -> dict[str, tuple[int, int]]:
        """Entries and capacity of what is filled from here, by map name."""
        if self.live is None:
            return {}
        compiled = self.live.compiled
        accounts = len(compiled.user_classes) + len(compiled.group_classes)
        return {
            "cgroups": (len(self.live.ids), self._maps["cgroups"].max_entries // 2),
            "addresses": (len(compiled.address_classes), self._maps["addresses"].max_entries // 2),
            "accounts": (accounts, self._maps["accounts"].max_entries // 2),
            "names": (len(self.names), self._names_map.max_entries),
            "subject_rows": (self.live.subjects.row_count, self.live.subjects.row_capacity),
            "endpoint_classes": (compiled.endpoint_class_count, layout.MAX_ENDPOINTS),
        }

    def _fill(self, generation: int, policy: Policy, compiled: CompiledPolicy) -> Published:
        """Write everything of a policy under a generation that nobody reads yet."""
        constraints = [outcome.constraint for outcome in compiled.outcomes if outcome.constraint]
        numbers = self.names.numbers([*constraints, *(w.name for w in policy.workloads)])
        subjects = Subjects(compiled, numbers)
        published = Published(generation, policy, compiled, subjects)
        tables = self.slots.slot(generation)
        tables.generation = 0  # unreadable until it is whole
        write_tables(tables, compiled, numbers, self._host_network)
        self._maps["addresses"].put_all(address_pairs(generation, compiled))
        self._maps["accounts"].put_all(account_pairs(generation, compiled))
        try:
            subjects.class_of("/", None, tables)
        except SubjectsFull as err:
            raise PolicyError([Problem(policy.source, 1, 1, f"too much: {err.what}")]) from err
        self._enter(self._tree.scan(), published, tables)
        tables.generation = generation
        return published

    def _enter_live(self, found: dict[str, int]) -> None:
        """Classify under the live policy, unless another process has just published its own."""
        with self._pin_dir.changing():
            if self.live is not None and not self.superseded():
                self._enter(found, self.live, self.slots.slot(self.live.generation))

    def _enter(self, found: dict[str, int], published: Published, tables: layout.Tables) -> None:
        """Classify cgroups; one that does not fit is left to its nearest known ancestor."""
        names = {path: self.shown_name(path) for path in found}
        workloads = self.names.numbers(names.values())
        uses_engines = published.compiled.uses_engines
        for path, number in found.items():
            try:
                class_number = published.subjects.class_of(path, self.book.known(path), tables)
                if uses_engines and not self.book.is_settled(path):
                    class_number |= layout.CLASS_PROVISIONAL
                workload = workloads[names[path]]
                pair = cgroup_pair(published.generation, number, class_number, workload)
                self._maps["cgroups"].put(*pair)
            except (SubjectsFull, OSError) as err:
                if isinstance(err, OSError) and err.errno not in MAP_IS_FULL:
                    raise
                self.unclassified += 1
                log.warning("cgroup %s keeps its parent's constraints: %s", path, err)
            else:
                published.remember(path, number)
        if self._follower is not None:
            self._follower.seen(found)

    def _depart(self, change: CgroupChange) -> None:
        """It may have gone before it was entered, or before a bind in it is told of."""
        path = self.live.paths.get(change.number, change.path) if self.live else change.path
        if self.live is not None and self.live.ids.get(path) == change.number:
            self._drop(path, self.live)
        elif self.live is None or path not in self.live.ids:
            self._gone(path)
        self._departed[change.number] = path
        if len(self._departed) > MAX_DEPARTED:
            self._departed.popitem(last=False)

    def _drop(self, path: str, published: Published) -> None:
        self._gone(path)
        number = published.ids.pop(path)
        published.paths.pop(number, None)
        self._maps["cgroups"].delete(cgroup_pair(published.generation, number, 0, 0)[0])

    def _gone(self, path: str) -> None:
        if self._follower is not None:
            self._follower.gone(path)

    def _forget_all_but(self, generation: int) -> None:
        for opened in self._maps.values():
            forget_all_but(opened, generation)


def now_stored(
    sources: Iterable[tuple[str, str | bytes]], origin: str, mode: Mode | None
) -> StoredPolicy:
    """What to store of a policy that is published now."""
    texts = tuple(
        (name, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        for name, text in sources
    )
    return StoredPolicy(texts, origin, mode, time.time())
