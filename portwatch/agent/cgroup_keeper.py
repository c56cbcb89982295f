"""Keeps the cgroups of this machine classified under the live policy, as they come and go."""

from __future__ import annotations

import errno
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from portwatch.agent.live_policy import LivePolicy, Published
from portwatch.agent.policy_records import cgroup_pair
from portwatch.agent.subjects import SubjectsFull
from portwatch.agent.workload_names import WorkloadNames
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap
from portwatch.node.cgroups import CgroupTree
from portwatch.node.subtree_paths import SubtreePaths

log = logging.getLogger(__name__)

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
    """Who wants to know which cgroups there are: agent.identity.container_watch.ContainerWatch,
    agent.kubernetes.pod_watch.PodWatch."""

    def seen(self, paths: Iterable[str]) -> None:
        """These are there, some of them perhaps not for the first time."""

    def gone(self, path: str) -> None:
        """This one is there no more."""


class CgroupKeeper:
    """Writes the kernel's map of cgroups. `unclassified`: how many did not fit so far."""

    def __init__(
        self,
        tree: CgroupTree,
        live: LivePolicy,
        opened: BpfMap,
        workloads: WorkloadNames,
        followers: Sequence[FollowsCgroups],
    ) -> None:
        self._tree = tree
        self._paths = SubtreePaths(tree)
        self._policy = live
        self._map = opened
        self._workloads = workloads
        self._followers = followers
        self._departed: OrderedDict[int, str] = OrderedDict()  # ids are not given twice
        self.unclassified = 0

    @property
    def _live(self) -> Published | None:
        return self._policy.published

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
            if not change.number or change.is_cut:
                unsure.append(change.path)
                continue
            path = self._paths.ours(change.path, change.number)
            if path is None:
                continue
            if change.removed:
                self._depart(path, change.number)
                if made.get(path) == change.number:
                    del made[path]
            else:
                made[path] = change.number
        if self._live is not None:
            known = self._live.ids
            for path, number in made.items():
                if known.get(path, number) != number:
                    self._drop(path, self._live)
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
        if self._live is not None:
            fresh = {path: number for path, number in there.items() if path not in self._live.ids}
            if fresh:
                self._enter_live(fresh)
        return there

    def reclassify(self, paths: Iterable[str]) -> None:
        """Enter cgroups anew of which more has been learned."""
        live = self._live
        if live is not None:
            self._enter_live({path: live.ids[path] for path in paths if path in live.ids})

    def forget(self, path: str) -> None:
        """Drop a cgroup that is gone; in hybrid mode one of that name may be gone elsewhere."""
        if self._live is None or path not in self._live.ids:
            return
        if self._tree.id_of(path) != self._live.ids[path]:
            self._drop(path, self._live)

    def rescan(self) -> None:
        """Compare with the hierarchy as it is, where events may have been missed."""
        if self._live is None:
            return
        found = self._tree.scan()
        for path, number in list(self._live.ids.items()):
            if found.get(path) != number:
                self._drop(path, self._live)
        fresh = {path: number for path, number in found.items() if path not in self._live.ids}
        if fresh:
            self._enter_live(fresh)

    def path_of(self, cgroup: int) -> str | None:
        """The path of a cgroup id, also of one that has just gone; None where it is not known."""
        here = self._live.paths.get(cgroup) if self._live else None
        return here or self._departed.get(cgroup)

    def is_at(self, path: str, cgroup: int) -> bool:
        """Whether the cgroup at `path` now is the one with this id."""
        return self._tree.id_of(path) == cgroup

    def enter(self, found: dict[str, int], published: Published, tables: layout.Tables) -> None:
        """Classify cgroups; one that does not fit is left to its nearest known ancestor."""
        names = {path: self._workloads.shown_name(path) for path in found}
        workloads = self._workloads.names.numbers(names.values())
        book, compiled = self._workloads.book, published.compiled
        for path, number in found.items():
            try:
                class_number = published.subjects.class_of(path, book.known(path), tables)
                if book.may_change(path, compiled.uses_engines, compiled.uses_pods):
                    class_number |= layout.CLASS_PROVISIONAL
                workload = workloads[names[path]]
                pair = cgroup_pair(published.generation, number, class_number, workload)
                self._map.put(*pair)
            except (SubjectsFull, OSError) as err:
                if isinstance(err, OSError) and err.errno not in MAP_IS_FULL:
                    raise
                self.unclassified += 1
                if published.ids.pop(path, None) is not None:  # what it was it is no more
                    self._map.delete(cgroup_pair(published.generation, number, 0, 0)[0])
                log.warning("cgroup %s keeps its parent's constraints: %s", path, err)
            else:
                published.remember(path, number)
        for follower in self._followers:
            follower.seen(found)

    def gone(self, path: str) -> None:
        """Tell the followers that there is no cgroup at `path` any more."""
        for follower in self._followers:
            follower.gone(path)

    def _enter_live(self, found: dict[str, int]) -> None:
        """Classify under the live policy, unless another process has just published its own."""
        with self._policy.writable() as live:
            if live is not None:
                self.enter(found, *live)

    def _depart(self, path: str, number: int) -> None:
        """It may have gone before it was entered, or before a bind in it is told of."""
        path = self._live.paths.get(number, path) if self._live else path
        if self._live is not None and self._live.ids.get(path) == number:
            self._drop(path, self._live)
        elif self._live is None or path not in self._live.ids:
            self.gone(path)
        self._departed[number] = path
        if len(self._departed) > MAX_DEPARTED:
            self._departed.popitem(last=False)

    def _drop(self, path: str, published: Published) -> None:
        self.gone(path)
        number = published.ids.pop(path)
        published.paths.pop(number, None)
        self._map.delete(cgroup_pair(published.generation, number, 0, 0)[0])
