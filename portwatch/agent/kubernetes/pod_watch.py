"""Keeps up with what the API server says of this node's pods, in the agent's loop."""

from __future__ import annotations

import select
import selectors
import time
from collections.abc import Callable, Iterable

from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.agent.kubernetes.pod_file import PodFile
from portwatch.node.kubernetes.follower import PodFollower
from portwatch.policy.pod import KnownPod
from portwatch.policy.words.places import place_of


class PodWatch:
    """Done beside the agent's own work (agent.SideWork); follows cgroups, too
    (cgroup_keeper.FollowsCgroups). Call `connect()` before it joins the loop."""

    def __init__(self, book: PodBook, follower: PodFollower[KnownPod], file: PodFile) -> None:
        self._book = book
        self.follower = follower
        self._file = file
        self._below: dict[str, set[str]] = {}  # a pod's uid → the cgroups in it, its own too
        self._changed: Callable[[frozenset[str]], None] = lambda _: None
        self._selector: selectors.BaseSelector | None = None

    @property
    def known(self) -> int:
        """How many pods are known."""
        return len(self._book)

    @property
    def unknown(self) -> int:
        """How many pods have a cgroup here and are not known."""
        return sum(self._book.of(uid) is None for uid in list(self._below))

    def connect(self, changed: Callable[[frozenset[str]], None]) -> None:
        """`changed` is called with the cgroups of which more, or something else, is known now."""
        self._changed = changed

    def join(self, selector: selectors.BaseSelector) -> None:
        """Have the loop call."""
        self._selector = selector
        selector.register(self.follower.fileno(), selectors.EVENT_READ, self._read)

    def tick(self) -> None:
        """After every wake-up."""
        self._file.tick(time.monotonic(), self.follower.state.contact_seconds)

    def wait(self, seconds: float) -> None:
        """Give the API server that long for its first list."""
        deadline = time.monotonic() + seconds
        while not self.follower.state.listed and (left := deadline - time.monotonic()) > 0:
            select.select([self.follower], [], [], min(left, 0.05))
            self._take()
        self._take()

    def close(self) -> None:
        """Follow no more; what is known is kept as a file."""
        if self._selector is not None:
            self._selector.unregister(self.follower.fileno())
            self._selector = None
        self.follower.close()
        self._file.write(self.follower.state.contact_seconds)

    def seen(self, paths: Iterable[str]) -> None:
        """Cgroups that are there."""
        for path in paths:
            uid = place_of(path).pod
            if uid is not None:
                self._below.setdefault(uid, set()).add(path)

    def gone(self, path: str) -> None:
        """A cgroup that is there no more."""
        uid = place_of(path).pod
        below = self._below.get(uid) if uid else None
        if below is None or uid is None:
            return
        below.discard(path)
        if not below:
            del self._below[uid]
            if self._book.forget(uid):
                self._file.changed()

    def _read(self) -> None:
        cgroups = self._take()
        if cgroups:
            self._changed(frozenset(cgroups))

    def _take(self) -> set[str]:
        """Enter what came; the cgroups whose pod is another, or known, now."""
        news = self.follower.read()
        cgroups: set[str] = set()
        if news.listed is not None:
            self._book.only_told({*news.listed, *news.changed})
        self._book.untold(uid for uid, pod in news.changed.items() if pod is None)
        for uid, pod in news.changed.items():
            if pod is not None and self._book.learn(pod):
                cgroups |= self._below.get(uid, set())
                self._file.changed()
        if news.listed is not None or None in news.changed.values():
            for uid in self._book.leftover():
                if uid not in self._below and self._book.forget(uid):
                    self._file.changed()
        return cgroups
