"""Follows the pods of one node: lists them, then watches, in a thread that nobody waits for.

A list comes out of the API server's memory, not older than what was seen before: a consistent one
would have it read every pod of the cluster for each node. The watch goes on from there, from
bookmark to bookmark; only where the server has forgotten so old a version (410) all is listed anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from portwatch.errors import ApiFailed
from portwatch.node.kubernetes.back_off import BackOff
from portwatch.node.kubernetes.connection import ApiConnection, one_line
from portwatch.node.kubernetes.item_stream import MAX_OBJECT_BYTES, ItemStream, TooLarge
from portwatch.node.kubernetes.line_stream import LineStream
from portwatch.node.kubernetes.server import ApiServer
from portwatch.node.kubernetes.shapes import (
    BAD_JSON,
    PodObject,
    read_event,
    read_list,
    read_pod,
    read_status,
    read_version,
)

log = logging.getLogger(__name__)

RESTARTS = ("ended", "gone", "unauthorized", "busy", "server", "network", "tls", "protocol")
"""Why a list or watch was begun anew; `ended`: the server ended it in good order."""

PAGE = 50
MAX_PODS = 4096
LIST_SECONDS = 60.0
IDLE_SECONDS = 150.0
"""A watch that hears nothing for so long is begun anew: bookmarks come every minute."""

WATCH_SECONDS = (300.0, 600.0)
LASTING_SECONDS = 5.0
"""A watch that lasted so long was none of the failures that are waited for ever longer."""

PODS = "/api/v1/pods"


class HasUid(Protocol):
    """What a pod's object becomes; `uid` is the key."""

    @property
    def uid(self) -> str:
        """Of the pod, as its cgroup has it."""


Pod = TypeVar("Pod", bound=HasUid)


@dataclass(frozen=True)
class PodNews(Generic[Pod]):
    """What came since the last look. `listed`: all that there are now, after a whole list, and
    then `changed`: uid → pod, None where it is gone."""

    listed: frozenset[str] | None
    changed: dict[str, Pod | None]


@dataclass
class FollowerState:
    """How it goes. `contact_seconds`: when the server was last heard of, since the epoch, 0 for
    never; `unreadable`: objects that were none, or too large; `problem`: why it does not go."""

    connected: bool = False
    listed: bool = False
    contact_seconds: float = 0.0
    unreadable: int = 0
    received_bytes: int = 0
    problem: str | None = None


class PodFollower(Generic[Pod]):
    """Readable `fileno()`: call `read()`. `parse` raises ValueError for what is no pod."""

    def __init__(
        self,
        server: ApiServer,
        node_name: str,
        parse: Callable[[PodObject], Pod],
        back_off: BackOff | None = None,
    ) -> None:
        self._server = server
        self._selector = f"spec.nodeName={node_name}"
        self._parse = parse
        self._back_off = back_off or BackOff()
        self._lock = threading.Lock()
        self._changed: dict[str, Pod | None] = {}
        self._listed: frozenset[str] | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ending = threading.Event()
        self._connection: ApiConnection | None = None
        self._version = ""  # that the pods are known up to; empty: they have to be listed
        self._newest = "0"  # that was seen; empty: the next list has to be a consistent one
        self._progressed = False  # since the last list
        self.state = FollowerState()
        self.restarts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._work, name="kubernetes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there is news: for select() and its kin."""
        return self._wake

    def read(self) -> PodNews[Pod]:
        """Take what came since the last time."""
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            news = PodNews(self._listed, self._changed)
            self._listed, self._changed = None, {}
        return news

    def close(self) -> None:
        """End; the thread is not waited for longer than it takes to let go of a connection."""
        if self._wake < 0:
            return
        self._ending.set()
        connection = self._connection
        if connection is not None:
            connection.cut()
        if self._thread.is_alive():
            self._thread.join(1.0)
        with self._lock:
            wake, self._wake = self._wake, -1
        os.close(wake)

    def _work(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                if not self._version:
                    self._list()
                began = time.monotonic()
                self._watch()
                reason, problem = "ended", None
            except ApiFailed as err:
                reason, problem = err.reason, err.message
            except (TooLarge, *BAD_JSON) as err:
                reason, problem = (
                    "protocol",
                    f"not the answer of an API server: {one_line(str(err))}",
                )
            except Exception as err:  # a thread that ends is pods that never become known
                log.exception("following the pods of this node")
                reason, problem = "protocol", f"cannot be asked: {err}"
            self.state.connected = False
            if self._ending.is_set():
                return
            self._begin_anew(reason, problem, lasted=time.monotonic() - began)

    def _begin_anew(self, reason: str, problem: str | None, lasted: float) -> None:
        self.restarts[reason] += 1
        if problem and problem != self.state.problem:
            log.warning("the API server of Kubernetes: %s; what is known of pods stays", problem)
        self.state.problem = problem
        if reason == "gone":
            if not self._progressed:  # what the server has in memory is too old itself
                self._newest = ""
            self._version = ""
        if lasted >= LASTING_SECONDS:
            self._back_off.reset()
        if reason != "ended" or lasted < LASTING_SECONDS:
            self._ending.wait(self._back_off.next())

    def _list(self) -> None:
        """All pods of the node, page by page, each told of as it comes."""
        seen: set[str] = set()
        version, page = "", {"limit": str(PAGE)}
        self._progressed = False
        if self._newest:
            page |= {"resourceVersion": self._newest, "resourceVersionMatch": "NotOlderThan"}
        while True:
            stream = ItemStream()
            deadline = time.monotonic() + LIST_SECONDS
            for piece in self._pieces(page, LIST_SECONDS / 2):
                if time.monotonic() > deadline:
                    raise ApiFailed("network", f"a list took more than {LIST_SECONDS:.0f} s")
                for item in stream.feed(piece):
                    pod = self._read(item)
                    if pod is not None:
                        seen.add(pod.uid)
                        self._put(pod.uid, pod, len(seen))
            self.state.unreadable += stream.skipped
            envelope = read_list(bytes(stream.envelope))
            version = envelope.text("resourceVersion") or version
            if not envelope.text("continue"):
                break
            page = {"limit": str(PAGE), "continue": envelope.text("continue")}
        if not version:
            raise ApiFailed("protocol", "its list has no version")
        with self._lock:
            self._listed = frozenset(seen)
            self._notify()
        self._version = self._newest = version
        self.state.listed, self.state.problem = True, None

    def _watch(self) -> None:
        seconds = int(self._back_off.spread(*WATCH_SECONDS))
        parameters = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        lines = LineStream(MAX_OBJECT_BYTES)
        for piece in self._pieces(parameters, IDLE_SECONDS):
            self.state.connected, self.state.problem = True, None
            for line in lines.feed(piece):
                self._take(line)
            self.state.unreadable += lines.take_skipped()

    def _take(self, line: bytes) -> None:
        event = read_event(line)
        if event.type == "ERROR":
            status = read_status(event.object)
            said = f"{status.reason or status.code}: {status.message}"
            raise ApiFailed("gone" if status.code == 410 else "server", one_line(said))
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            pod = self._read(bytes(event.object))
            if pod is not None:
                self._put(pod.uid, None if event.type == "DELETED" else pod, 0)
        self._version = self._newest = read_version(event.object) or self._version
        self._progressed = True

    def _pieces(self, parameters: dict[str, str], idle_seconds: float) -> Iterator[bytes]:
        """The answer to one request about the pods of this node."""
        connection = ApiConnection(self._server, idle_seconds)
        self._connection = connection
        try:
            connection.get(PODS, {"fieldSelector": self._selector, **parameters})
            self.state.connected = "watch" in parameters
            self._heard(b"")
            for piece in connection.pieces():
                self._heard(piece)
                yield piece
        finally:
            self._connection = None
            connection.close()

    def _heard(self, piece: bytes) -> None:
        self.state.contact_seconds = time.time()
        self.state.received_bytes += len(piece)

    def _read(self, text: bytes) -> Pod | None:
        try:
            return self._parse(read_pod(text))
        except (ValueError, *BAD_JSON) as err:
            if not self.state.unreadable:  # the rest is counted: there may be any number
                log.warning("ignoring an object of the API server: %s", one_line(str(err)))
            self.state.unreadable += 1
            return None

    def _put(self, uid: str, pod: Pod | None, listed: int) -> None:
        with self._lock:
            if max(listed, len(self._changed)) >= MAX_PODS:
                raise ApiFailed("protocol", f"more than {MAX_PODS:,} pods on one node")
            self._changed[uid] = pod
            self._notify()

    def _notify(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)
