"""Collision reports with everything around them: a kernel, names and a child that are none."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Sequence
from typing import Any

from portwatch.agent.events.collision_reports import CollisionReports
from portwatch.agent.events.workload import workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.errors import PortwatchError
from portwatch.kernel import layout
from portwatch.kernel.readings import CollisionKey
from portwatch.node.listeners import Listener
from portwatch.node.port_holders import PortQuestion
from portwatch.node.socket_holders import Holder

WEB, SHOP = 7, 8
NETWORK = 4026531840
Answer = list[list[Listener]] | PortwatchError


class Names:
    """The kernel's names, and what cgroups are called."""

    names: Names

    def __init__(self) -> None:
        self.names = self

    def text(self, number: int) -> str:
        """Of a workload."""
        return {0: "other", WEB: "web", SHOP: "shop"}.get(number, f"w{number}")

    def workload_name(self, cgroup: str, uid: int, gid: int, host_network: bool) -> str:
        """The cgroup's own."""
        return cgroup.strip("/")

    def workload_parts(self, path: str) -> dict[str, Any]:
        """Its path."""
        return workload_parts(path, ContainerBook())


class Child:
    """A search that is done when it is told to be."""

    def __init__(self, questions: Sequence[PortQuestion]) -> None:
        self.questions = list(questions)
        self.closed = False
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK)
        self._answer: Answer | None = None

    def fileno(self) -> int:
        """For select()."""
        return self._read_end

    def end(self, answer: Answer) -> None:
        """What it will answer."""
        self._answer = answer
        os.write(self._write_end, b"x")

    def read(self) -> bool:
        """Whether it has ended."""
        return self._answer is not None

    def overdue(self) -> bool:
        """Never."""
        return False

    def result(self) -> list[list[Listener]]:
        """What it was told to answer."""
        self.close()
        if isinstance(self._answer, PortwatchError):
            raise self._answer
        assert self._answer is not None
        return self._answer

    def close(self) -> None:
        """Give it back."""
        self.closed = True
        os.close(self._read_end)
        os.close(self._write_end)


class Desk:
    """The reports, with everything around them: this is the kernel, and what describes binds."""

    def __init__(self, counted: dict[CollisionKey, int] | None = None) -> None:
        self.counts = dict(counted or {})
        self.selector = selectors.DefaultSelector()
        self.children: list[Child] = []
        self.events: list[dict[str, Any]] = []
        self.refused: Exception | None = None
        self.now = 1000.0
        self.names = Names()
        self.reports = CollisionReports(
            self,
            self.names,
            self,
            self.selector,
            self.events.append,
            self.begin,
            lambda: self.now,
        )

    def collision_count(self, key: CollisionKey) -> int:
        """As Readings has it."""
        return self.counts.get(key, 0)

    def collisions(self) -> dict[CollisionKey, int]:
        """As Readings has it."""
        return dict(self.counts)

    def facts(self, raw: layout.Event) -> dict[str, Any]:
        """As EventFormat has it, in short."""
        network = f"net:[{raw.netns_inode}]"
        name = self.names.text(raw.workload or raw.cgroup)  # of who shares the kernel tells no name
        protocol = layout.PROTOCOL_NAMES[raw.label]
        bind = {"protocol": protocol, "port": raw.port, "network": network}
        return {"bind": bind, "workload": {"name": name}}

    def begin(self, questions: Sequence[PortQuestion]) -> Any:
        """As begin_find_holders() does."""
        if self.refused:
            raise self.refused
        self.children.append(Child(questions))
        return self.children[-1]

    def collide(self, port: int = 80, times: int = 1, **more: Any) -> None:
        """That many binds fail, of which the first is a record."""
        raw = record(port, **more)
        key = CollisionKey(raw.workload, raw.port, raw.label)
        self.counts[key] = self.counts.get(key, 0) + times
        self.reports.take(raw)

    def tick(self, after: float) -> None:
        """The agent's loop, so many seconds after the start."""
        self.now = 1000.0 + after
        self.reports.tick(self.now)

    def answer(self, *found: list[Listener] | PortwatchError) -> None:
        """The youngest child ends, with this or nobody for each question."""
        child = self.children[-1]
        first = found[0] if found else None
        if isinstance(first, PortwatchError):
            child.end(first)
        else:
            child.end(
                [one for one in found if isinstance(one, list)] or [[]] * len(child.questions)
            )
        for key, _ in self.selector.select(0):
            key.data()

    @property
    def told(self) -> int:
        """The sum of all counts."""
        return sum(event["count"] for event in self.events)


def record(port: int = 80, address: str = "::ffff:127.0.0.1", **more: Any) -> layout.Event:
    """What the kernel tells of one that fails."""
    given: dict[str, Any] = {
        "kind": layout.EVENT_COLLISION, "workload": WEB, "port": port, "netns_inode": NETWORK,
    }  # fmt: skip
    raw = layout.Event(**(given | more))
    raw.address[:] = socket.inet_pton(socket.AF_INET6, address)
    return raw


def listener(**more: Any) -> Listener:
    """A process that listens there."""
    holder = Holder(42, "nginx", None, None, 0, 0, "/shop", "2026-01-02T03:04:05.000000Z")
    given: dict[str, Any] = {
        "protocol": "tcp", "family": "ipv4", "address": "127.0.0.1", "port": 80, "state": "listen",
        "dual": False, "network": NETWORK, "is_host_network": False, "in_local_range": False,
        "cookie": 1, "uid": 0, "made_in": None, "holder": holder, "more": 0,
    }  # fmt: skip
    return Listener(**(given | more))
