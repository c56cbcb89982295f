"""What engines know now, for a command that ends at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence

from portwatch.errors import EngineFailed
from portwatch.node.engines.engine import BATCH, OpenEngine, open_engine, runs_in
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.lookups import Wanted, engine_sockets
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

log = logging.getLogger(__name__)

Names = dict[Wanted, ContainerFacts]


def find_now(
    wanted: Sequence[Wanted],
    given: Sequence[EngineSocket] = (),
    timeout_seconds: float = 2.0,
    host: HostPaths | None = None,
    engines: OpenEngine = open_engine,
) -> Names:
    """Return the facts known when all engines have answered, or time is up; it never fails.

    `given` as for ContainerLookups. What is to be verified and cannot be is left out: by the id
    alone it might be another's.
    """
    host = host or HostPaths()
    by_socket: dict[EngineSocket, list[Wanted]] = {}
    for one in wanted:
        for socket in engine_sockets(host, given, one):
            by_socket.setdefault(socket, []).append(one)
    answers: queue.SimpleQueue[Names | None] = queue.SimpleQueue()  # None: one engine is done

    def ask(socket: EngineSocket, wanted: list[Wanted]) -> None:
        try:
            for names in _names(socket, wanted, host, engines):
                answers.put(names)
        except EngineFailed as err:
            log.debug("ignoring %s: %s", socket, err.message)
        finally:
            answers.put(None)

    for socket, those in by_socket.items():
        threading.Thread(target=ask, args=(socket, those), name=str(socket), daemon=True).start()
    found: Names = {}
    busy = len(by_socket)
    deadline = time.monotonic() + timeout_seconds
    while busy:
        try:
            names = answers.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            break
        if names is None:
            busy -= 1
        else:
            found |= names
    return found


def _names(
    socket: EngineSocket, wanted: Sequence[Wanted], host: HostPaths, engines: OpenEngine
) -> Iterator[Names]:
    """Yield the names that one engine knows, those that need no proof first."""
    engine = engines(socket)
    try:
        facts: dict[str, ContainerFacts] = {}
        ids = sorted({one.id for one in wanted})
        for start in range(0, len(ids), BATCH):
            facts |= {one.id: one for one in engine.find(ids[start : start + BATCH])}
        known = [one for one in wanted if one.id in facts]
        yield {one: facts[one.id] for one in known if not one.verify}
        for one in known:
            if one.verify and runs_in(engine, one.id, one.cgroup, host):
                yield {one: facts[one.id]}
    finally:
        engine.close()
