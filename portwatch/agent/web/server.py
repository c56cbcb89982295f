"""The HTTP server: /metrics and the agent's pages, from a loop in a thread of its own.

The loop never waits for a client, nor for a page: two workers make the answers, a third looks
at passwords where there are users.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from portwatch.agent.metrics.families import CollectorRegistry
from portwatch.agent.web.addresses import url_of
from portwatch.agent.web.answer import Answer, Page, text
from portwatch.agent.web.config.settings import WebConfig
from portwatch.agent.web.connection import Connection
from portwatch.agent.web.crowd import Crowd
from portwatch.agent.web.request import Request
from portwatch.agent.web.site import METRICS, Site
from portwatch.agent.web.stream import Gone
from portwatch.agent.web.worker import Tell, Worker

if TYPE_CHECKING:
    from portwatch.agent.web.basic_auth import BasicAuth
    from portwatch.agent.web.config.following import FollowedConfig

log = logging.getLogger(__name__)

ACCEPTS_A_TURN = 16
ACCEPT_PAUSE_SECONDS = 0.5
FULL_PAUSE_SECONDS = 0.02
STOP_SECONDS = 2.0
MAX_WAITING = 32
"""Half of the connections: the others can still be read, and go when another client comes."""

MAX_PASSWORDS_WAITING = 8
"""Two seconds of guesses at cost 10: who has a good password and is new waits behind them."""
_GONE_BEFORE_ACCEPT = (errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM)

_BUSY = text("busy; try again", HTTPStatus.SERVICE_UNAVAILABLE, (("Retry-After", "1"),))
_FAILED = text("this page failed; the agent's log says why", HTTPStatus.INTERNAL_SERVER_ERROR)
_WHO = text("who are you?", HTTPStatus.UNAUTHORIZED, (("WWW-Authenticate", "Basic"),))
_READ_ONLY = text("only GET and HEAD", HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", "GET, HEAD"),))


class WebServer:
    """Serves on `listeners`, which it closes at the end; `urls` says where, one each."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        registry: CollectorRegistry,
        pages: Mapping[str, Page],
        config: FollowedConfig | None = None,
    ) -> None:
        self._listeners = listeners
        self._site = Site(registry, pages)
        self._config = config
        self._auth: BasicAuth | None = None
        self.urls = [url_of(one, config.scheme if config else "http") for one in listeners]
        self._crowd = Crowd()
        self._done: deque[tuple[list[Tell], Any]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._accepts_from = 0.0
        self._paused = False
        self._refused = False
        self._ended = False
        self._metrics = Worker("web-metrics", self._told, MAX_WAITING)
        self._pages = Worker("web-pages", self._told, MAX_WAITING)
        self._passwords: Worker | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        for listener in self._listeners:
            listener.setblocking(False)
        self._listen(True)
        self._metrics.start()
        self._pages.start()
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, drop who is there, and give the addresses back."""
        self._ended = True
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        for worker in (self._metrics, self._pages, self._passwords):
            if worker:
                worker.stop(STOP_SECONDS)
        for connection in self._crowd:
            connection.close()
        for listener in self._listeners:
            listener.close()
        self._selector.close()  # `_wake` is left: a worker may be late, and its number another's

    def _told(self, tells: list[Tell], result: Any) -> None:
        """In a worker's thread."""
        self._done.append((tells, result))
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._ended:
            listeners = []
            for key, _events in self._selector.select(self._seconds_to_wait()):
                if isinstance(key.data, Connection):
                    self._advance(key.data)
                elif key.fd == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    listeners.append(key.data)
            while self._done and not self._ended:
                tells, result = self._done.popleft()
                for tell in tells:
                    tell(result)
                del tells, result
            # Last, so that who has come before is read before somebody has to go for the next.
            for listener in listeners:
                self._accept(listener)
            now = time.monotonic()
            for connection in self._crowd.expired(now):
                self._drop(connection)
            if self._paused and now >= self._accepts_from:
                self._paused = False
                self._listen(True)

    def _seconds_to_wait(self) -> float | None:
        ends = [self._crowd.next_deadline, self._accepts_from if self._paused else None]
        end = min((one for one in ends if one is not None), default=float("inf"))
        return None if end == float("inf") else max(0.0, end - time.monotonic())

    # Connections come and go.

    def _listen(self, listening: bool) -> None:
        for listener in self._listeners:
            if listening and listener not in self._selector.get_map():
                self._selector.register(listener, selectors.EVENT_READ, listener)
            elif not listening and listener in self._selector.get_map():
                self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._crowd.is_full and self._crowd.least() is None:
                self._pause(FULL_PAUSE_SECONDS)  # who comes now waits in the kernel's queue
                return
            try:
                accepted, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno not in _GONE_BEFORE_ACCEPT:
                    self._say_refused(err)
                    self._pause(ACCEPT_PAUSE_SECONDS)
                    return
                continue
            self._refused = False
            self._welcome(accepted)

    def _pause(self, seconds: float) -> None:
        self._paused = True
        self._accepts_from = time.monotonic() + seconds
        self._listen(False)

    def _say_refused(self, err: OSError) -> None:
        """Without file descriptors or memory, accepting again at once would only spin."""
        if not self._refused:  # once, until one is accepted again
            log.warning("no new connections for now: %s", err.strerror)
        self._refused = True
        if least := self._crowd.least():
            self._drop(least)

    def _welcome(self, accepted: socket.socket) -> None:
        if self._crowd.is_full and (least := self._crowd.least()):
            self._drop(least)
        try:
            connection = Connection(accepted, self._current(), time.monotonic())
        except (OSError, ValueError):  # gone already
            accepted.close()
            return
        self._crowd.add(connection)
        self._advance(connection)

    def _drop(self, connection: Connection) -> None:
        if connection in self._crowd:
            self._crowd.remove(connection)
            if connection.socket in self._selector.get_map():
                self._selector.unregister(connection.socket)
            connection.close()

    def _current(self) -> WebConfig:
        return self._config.current() if self._config else _NOTHING

    # Requests and answers.

    def _advance(self, connection: Connection) -> None:
        def step() -> None:
            while request := connection.advance(time.monotonic()):
                self._begin(connection, request)
            self._await(connection)

        self._try(connection, step)

    def _try(self, connection: Connection, step: Callable[[], None]) -> None:
        if connection not in self._crowd:  # dropped for another one's sake meanwhile
            return
        try:
            step()
        except Gone:
            self._drop(connection)
        except Exception:  # one client must not end the server for all
            log.exception("a connection failed")
            self._drop(connection)

    def _await(self, connection: Connection) -> None:
        wanted, there = connection.wanted_events, self._selector.get_map()
        if connection.socket in there:
            if not wanted:
                self._selector.unregister(connection.socket)
            elif self._selector.get_key(connection.socket).events != wanted:
                self._selector.modify(connection.socket, wanted, connection)
        elif wanted:
            self._selector.register(connection.socket, wanted, connection)

    def _begin(self, connection: Connection, request: Request) -> None:
        """Let a worker answer, or refuse at once; a refusal is the last that a connection gets, so
        that what is sent ahead of it keeps the loop from nobody."""
        users = self._current().users
        credentials = request.headers.get(b"authorization")
        if not users or (credentials and self._judge().known(credentials, users)):
            self._find(connection, request)
        elif credentials is None:
            self._answer(connection, _WHO, last=True)
        else:
            self._ask(
                self._checker(),
                (credentials, id(users)),
                lambda: self._judge().check(credentials, users),
                connection,
                lambda good: (
                    self._find(connection, request)
                    if good
                    else self._answer(connection, _WHO, last=True)
                ),
            )

    def _find(self, connection: Connection, request: Request) -> None:
        if request.method not in ("GET", "HEAD"):
            self._answer(connection, _READ_ONLY, last=True)
            return
        self._ask(
            self._metrics if request.path == METRICS else self._pages,
            self._site.key(request),
            lambda: self._site.answer(request),
            connection,
            lambda answer: self._answer(connection, answer or _FAILED),
        )

    def _ask(
        self,
        worker: Worker,
        key: Hashable,
        work: Callable[[], Any],
        connection: Connection,
        then: Tell,
    ) -> None:
        def tell(result: Any) -> None:
            self._try(connection, lambda: then(result))
            self._advance(connection)

        if not worker.ask(key, work, tell):
            self._answer(connection, _BUSY, last=True)

    def _answer(self, connection: Connection, answer: Answer, *, last: bool = False) -> None:
        connection.answer(answer, self._current().headers, time.monotonic(), last=last)
        while slow := self._crowd.too_slow(connection):
            self._drop(slow)

    def _judge(self) -> BasicAuth:
        from portwatch.agent.web.basic_auth import BasicAuth  # only who has users pays for it

        self._auth = self._auth or BasicAuth()
        return self._auth

    def _checker(self) -> Worker:
        if self._passwords is None:
            self._passwords = Worker("web-passwords", self._told, MAX_PASSWORDS_WAITING)
            self._passwords.start()
        return self._passwords


_NOTHING = WebConfig()
