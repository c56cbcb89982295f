"""A container engine, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from portwatch.node.cgroups import cgroup_of_process
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

BATCH = 100  # ids in one question: about 7 KiB of URL

DOCKER_COMPATIBLE = ("docker", "podman")


class Engine(Protocol):
    """What may be asked of an engine; EngineFailed from any question. For one thread."""

    def find(self, ids: Sequence[str]) -> list[ContainerFacts]:
        """Return what is known of containers by full id; unknown ones are left out."""

    def first_process(self, container_id: str) -> int | None:
        """Return the pid of a container's first process; None where it has none."""

    def close(self) -> None:
        """Give the connection back; the next question makes another."""


OpenEngine = Callable[[EngineSocket], Engine]


def open_engine(socket: EngineSocket) -> Engine:
    """Return the engine behind a socket; nothing is connected yet."""
    # http.client brings OpenSSL along, h2 is a megabyte: only who runs such an engine is to pay,
    # and before its first container: it takes 20 ms, on a busy machine longer than a start.
    if socket.runtime in DOCKER_COMPATIBLE:
        from portwatch.node.engines.docker_api import DockerApi

        return DockerApi(socket)
    from portwatch.node.engines.cri_api import CriApi

    return CriApi(socket)


def runs_in(engine: Engine, container_id: str, cgroup: str, host: HostPaths) -> bool:
    """Return whether the engine has a container's first process in this cgroup, or below it.

    Who may make cgroups may call one after another's container; EngineFailed.
    """
    pid = engine.first_process(container_id)
    if pid is None:
        return False
    place = cgroup_of_process(host, pid)
    if place != cgroup and not (place or "").startswith(cgroup.rstrip("/") + "/"):
        return False
    return engine.first_process(container_id) == pid  # else the pid may be somebody else's by now
