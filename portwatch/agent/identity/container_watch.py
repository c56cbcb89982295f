"""Keeps up with the containers of this machine: asks their engines as their cgroups come.

Nothing here waits for an engine. What is known of a container that has gone is kept for a while
(containers.py), since one that is started again has the id it had.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portwatch.agent.identity.container_asking import learn_from_monitors, wanted_of
from portwatch.agent.identity.containers import ContainerBook
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.conmon import monitor_above
from portwatch.node.engines.lookups import ContainerLookups
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.netns import host_network_inode, network_of_cgroup
from portwatch.node.paths import HostPaths
from portwatch.policy.words.places import place_of

REFRESH_SECONDS = 60.0
NETWORKS_AT_ONCE = 50
NETWORK_TRIES = 20  # at ticks; by then a container has a process, and has left the host's


@dataclass(frozen=True)
class News:
    """`cgroups`, of containers and below, of which more is known now; `renamed`: what was settled
    has changed."""

    cgroups: frozenset[str]
    renamed: bool


class ContainerWatch:
    """Readable `fileno()`: call `read()`. Call `tick()` now and then."""

    def __init__(
        self,
        tree: CgroupTree,
        host: HostPaths,
        book: ContainerBook,
        sockets: Sequence[EngineSocket] = (),
    ) -> None:
        self._tree = tree
        self._host = host
        self._book = book
        self._host_network = host_network_inode(host)
        self._lookups = ContainerLookups(host, sockets)
        self._lookups.prepare()
        self._below: dict[str, set[str]] = {}  # a container's cgroup → those in it, itself too
        self._networks: dict[str, int] = {}  # containers whose namespace is not known → tries left
        self._next_refresh = time.monotonic() + REFRESH_SECONDS

    def seen(self, paths: Iterable[str]) -> None:
        """Cgroups that are there; their containers are asked for where they are not known."""
        for path in paths:
            cgroup = place_of(path).container_cgroup
            if cgroup is None:
                continue
            known = self._below.setdefault(cgroup, set())
            if path in known:
                continue
            known.add(path)
            if cgroup not in self._networks:
                self._networks[cgroup] = NETWORK_TRIES
            if not self._book.is_settled(cgroup):
                self._lookups.want(wanted_of(cgroup))

    def made_by(self, path: str, pid: int) -> None:
        """A process makes a container's cgroup: what watches over it may know its name already."""
        place = place_of(path)
        if place.container is None or place.container.runtime not in (None, "podman"):
            return
        if self._book.facts(path):
            return
        monitored = monitor_above(self._host, pid)
        if monitored is not None and monitored.owner_uid == place.owner_uid:
            self._book.learn(path, monitored.facts, is_whole=False)

    def search_monitors(self) -> None:
        """At start: the monitors of all the containers that are there."""
        waiting = {cgroup for cgroup in self._below if not self._book.facts(cgroup)}
        if waiting:
            learn_from_monitors(self._book, self._host, map(wanted_of, waiting))

    def gone(self, path: str) -> None:
        """A cgroup that is there no more."""
        place = place_of(path)
        cgroup = place.container_cgroup
        below = self._below.get(cgroup) if cgroup else None
        if below is None or cgroup is None or place.container is None:
            return
        below.discard(path)
        if not below:
            del self._below[cgroup]
            self._networks.pop(cgroup, None)
            self._lookups.forget(place.container.id, cgroup)
            self._book.forget_network(cgroup)

    @property
    def containers(self) -> tuple[str, ...]:
        """The cgroups of the containers that are there."""
        return tuple(self._below)

    @property
    def problems(self) -> dict[str, str]:
        """Why an engine does not answer, by its socket."""
        return self._lookups.problems()

    def fileno(self) -> int:
        """Readable when an engine has answered: for select() and its kin."""
        return self._lookups.fileno()

    def read(self) -> News:
        """Take the answers."""
        cgroups: set[str] = set()
        renamed = False
        for found in self._lookups.read():
            cgroup = found.wanted.cgroup
            before = self._book.known(cgroup) if self._book.is_settled(cgroup) else None
            is_news = self._book.learn(cgroup, found.facts, is_verified=found.verified)
            if is_news and cgroup in self._below:
                cgroups |= self._below[cgroup]
                renamed |= before not in (None, self._book.known(cgroup))
        return News(frozenset(cgroups), renamed)

    def wait(self, seconds: float) -> None:
        """Give the engines that long to answer for all that is wanted now."""
        deadline = time.monotonic() + seconds
        while any(not self._book.is_settled(cgroup) for cgroup in self._below):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            select.select([self], [], [], left)
            self.read()

    def tick(self, now: float) -> None:
        """Find networks' owners, ask again for names that may have changed; `now` is monotonic."""
        self._lookups.prepare()
        self.find_networks()
        self._networks = {path: left - 1 for path, left in self._networks.items() if left > 1}
        if now >= self._next_refresh:
            self._next_refresh = now + REFRESH_SECONDS
            for cgroup in self._below:
                self._lookups.want(wanted_of(cgroup))

    def find_networks(self) -> None:
        """Look for the network namespaces of new containers, before an event is told of them. What
        is in the host's may be about to leave it: a container's first process starts there."""
        for cgroup in list(self._networks)[:NETWORKS_AT_ONCE]:
            network = network_of_cgroup(self._tree, self._host, cgroup)
            if network is not None and network[0] != self._host_network:
                del self._networks[cgroup]
                self._book.learn_network(cgroup, *network)

    def close(self) -> None:
        """Ask no more."""
        self._lookups.close()
