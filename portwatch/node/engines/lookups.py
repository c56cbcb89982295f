"""The agent's questions for the engines: asked by threads, answered when there is an answer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from portwatch.node.engines.engine import BATCH, Engine, OpenEngine, open_engine, runs_in
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.question_queue import QuestionQueue, QueueClock
from portwatch.node.engines.sockets import SYSTEM, EngineSocket, well_known_sockets
from portwatch.node.paths import HostPaths

MAX_WANTED = 4096
MAX_SOCKETS = 64  # each has a thread while something is wanted of it
# Users may have engines, and cgroups that look like containers, as many as they like: half of
# either is the machine's own.


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container whose facts are wanted: its full id, and the cgroup it was seen in.

    `runtime` None: any engine's of that owner. `verify`: whether the engine runs it in this very
    cgroup matters, as others than the engine may make cgroups there.
    """

    id: str
    runtime: str | None
    owner_uid: int
    cgroup: str
    verify: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What an engine says of a wanted container; `verified` as Wanted asks for it."""

    wanted: Wanted
    facts: ContainerFacts
    verified: bool


@dataclass(frozen=True)
class _Desk:
    """One engine: its names, and in a thread of its own, as it may take long, the proofs."""

    names: QuestionQueue[Wanted, Found]
    proofs: QuestionQueue[Found, Found]

    def waiting(self) -> int:
        return len(self.names) + len(self.proofs)

    def problem(self) -> str | None:
        return self.names.problem or self.proofs.problem

    def close(self) -> None:
        self.names.close()
        self.proofs.close()


class ContainerLookups:
    """`want()` never waits. Readable `fileno()`: call `read()`. Facts are not remembered here.

    `given` are sockets to ask instead of the well-known ones of their runtime and owner.
    """

    def __init__(
        self,
        host: HostPaths,
        given: Sequence[EngineSocket] = (),
        clock: QueueClock | None = None,
        engines: OpenEngine = open_engine,
    ) -> None:
        self._host = host
        self._given = tuple(given)
        self._clock = clock or QueueClock()
        self._engines = engines
        self._lock = threading.Lock()  # over what follows: threads deliver
        self._prepared: set[str] = set()  # runtimes
        self._desks: dict[EngineSocket, _Desk] = {}
        self._found: list[Found] = []
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def prepare(self) -> None:
        """Have at hand what asks the machine's engines that are there by now; some 20 ms each,
        once, which are too long when a container is being started."""
        given = (socket for socket in self._given if socket.owner_uid == SYSTEM)
        for socket in (*given, *well_known_sockets(self._host, SYSTEM)):
            if socket.runtime not in self._prepared and os.path.lexists(socket.path):
                self._prepared.add(socket.runtime)
                self._engines(socket).close()

    def want(self, wanted: Wanted) -> bool:
        """Ask for a container, unless it is being asked for; False where too many are."""
        sockets = engine_sockets(self._host, self._given, wanted)
        is_users = wanted.verify or wanted.owner_uid != SYSTEM
        with self._lock:
            if self._ready < 0 or self._waiting() + len(sockets) > _room(MAX_WANTED, is_users):
                return False
            desks = [self._desk(socket) for socket in sockets]
            for desk in desks:
                if desk:
                    desk.names.want(wanted)
        return None not in desks

    def forget(self, container_id: str, cgroup: str | None = None) -> None:
        """Ask no more for a container, in one cgroup or in any.

        What was found is not told any more, but for an answer that comes in this very moment.
        """

        def unwanted(wanted: Wanted) -> bool:
            return wanted.id == container_id and cgroup in (None, wanted.cgroup)

        with self._lock:
            self._found = [found for found in self._found if not unwanted(found.wanted)]
            for desk in self._desks.values():
                desk.names.forget(unwanted)
                desk.proofs.forget(lambda found: unwanted(found.wanted))

    def fileno(self) -> int:
        """Readable when there is something to read(): for select() and its kin."""
        return self._ready

    def read(self) -> list[Found]:
        """Return what was found since the last time, in the order it came."""
        with self._lock:
            if self._ready >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._ready)
            found, self._found = self._found, []
        return found

    def problems(self) -> dict[str, str]:
        """Return by socket, `RUNTIME=PATH`, why answers that are wanted do not come now."""
        with self._lock:
            problems = {str(socket): desk.problem() for socket, desk in self._desks.items()}
            waiting = self._waiting()
            if waiting >= _room(MAX_WANTED, is_users=True):
                problems["engines"] = f"{waiting:,} answers are wanted; there is no room for all"
        return {name: problem for name, problem in problems.items() if problem}

    def close(self) -> None:
        """End it; an engine that does not answer is not waited for."""
        with self._lock:
            if self._ready >= 0:
                for desk in self._desks.values():
                    desk.close()
                os.close(self._ready)
                self._ready = -1

    def _waiting(self) -> int:
        """How many answers are wanted, or not read yet."""
        return sum(desk.waiting() for desk in self._desks.values()) + len(self._found)

    def _desk(self, socket: EngineSocket) -> _Desk | None:
        """Return a socket's desk, a new one if need be; None where too many are in use."""
        if socket not in self._desks:
            if len(self._desks) >= _room(MAX_SOCKETS, socket.owner_uid != SYSTEM):
                idle = [known for known, desk in self._desks.items() if not desk.waiting()]
                if not idle:
                    return None
                self._desks.pop(idle[0]).close()
            self._desks[socket] = self._new_desk(socket)
        return self._desks[socket]

    def _new_desk(self, socket: EngineSocket) -> _Desk:
        def name(engine: Engine, wanted: list[Wanted]) -> dict[Wanted, Found]:
            by_id = {facts.id: facts for facts in engine.find([one.id for one in wanted])}
            return {one: Found(one, by_id[one.id], False) for one in wanted if one.id in by_id}

        def prove(engine: Engine, found: list[Found]) -> dict[Found, Found]:
            return {
                one: replace(one, verified=True)
                for one in found
                if runs_in(engine, one.wanted.id, one.wanted.cgroup, self._host)
            }

        def named(found: list[Found]) -> None:
            self._deliver(found)
            with self._lock:
                for one in found:
                    if one.wanted.verify:
                        desk.proofs.want(one)

        def opened() -> Engine:
            return self._engines(socket)

        desk = _Desk(
            QuestionQueue(str(socket), opened, name, named, BATCH, self._clock),
            QuestionQueue(f"{socket} (inspect)", opened, prove, self._deliver, 1, self._clock),
        )
        return desk

    def _deliver(self, found: list[Found]) -> None:
        """Take answers, in an engine's thread; what one has found no other is asked for."""
        done = {one.wanted for one in found}
        with self._lock:
            if self._ready < 0:
                return
            for desk in self._desks.values():
                desk.names.forget(done.__contains__)
            self._found += found
            os.eventfd_write(self._ready, 1)


def _room(limit: int, is_users: bool) -> int:
    return limit // 2 if is_users else limit


def engine_sockets(
    host: HostPaths, given: Sequence[EngineSocket], wanted: Wanted
) -> list[EngineSocket]:
    """Return which sockets to ask: those that are there, or else all where its runtime is known.

    In a user's directory nothing is looked at, as that user may have mounted there what hangs.
    """
    own = [socket for socket in given if socket.owner_uid == wanted.owner_uid]
    replaced = {socket.runtime for socket in own}
    known = well_known_sockets(host, wanted.owner_uid)
    candidates = [
        socket
        for socket in [*own, *(one for one in known if one.runtime not in replaced)]
        if wanted.runtime in (None, socket.runtime)
    ]
    if wanted.owner_uid != SYSTEM:
        return candidates
    there = [socket for socket in candidates if os.path.lexists(socket.path)]
    return there if there or wanted.runtime is None else candidates
