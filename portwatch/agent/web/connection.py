"""One client's connection: bytes to requests, answers to bytes, and until when it may take.

It never blocks, and it holds one request and one answer at a time: what a client sends ahead
stays in the kernel's buffer.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from math import inf
from selectors import EVENT_READ, EVENT_WRITE
from wsgiref.handlers import format_date_time

import h11

from portwatch.agent.web.answer import Answer, Headers, text
from portwatch.agent.web.config.settings import WebConfig
from portwatch.agent.web.request import Request
from portwatch.agent.web.site import response_headers
from portwatch.agent.web.stream import Gone, Stream, Waits

HEAD_SECONDS = 10.0
"""For the TLS handshake and the first request's head together; for a later head alone."""

IDLE_SECONDS = 120.0
"""Between requests: twice the longest usual scrape interval."""

WRITE_SECONDS = 30.0
LINGER_SECONDS = 1.0
HEAD_BYTES = 16384
SEND_BUFFER_BYTES = 131072
"""A slow reader's answer waits here once and not in megabytes of kernel memory."""

_CHUNK_BYTES = 16384  # one TLS record
_CHUNKS_A_TURN = 32
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, no seconds


class Stage(Enum):
    """What a connection waits for."""

    BEGINNING = "TLS, where there is any"
    HEAD = "the head of a request"
    IDLE = "the next request"
    ANSWERING = "a worker"
    WRITING = "the client to read"
    CLOSING = "the client to read the last of it, and close"


class Connection:
    """`since` is when its stage began, `deadline` when it has to be over."""

    stage: Stage

    def __init__(self, accepted: socket.socket, config: WebConfig, now: float) -> None:
        """Raises OSError where the client is gone already."""
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._stream = _stream(accepted, config)
        self.socket = self._stream.socket
        self._enter(Stage.BEGINNING, now, HEAD_SECONDS)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._unsent: list[memoryview] = []
        self._head_only = False
        self._waits_for = 0
        self.body = b""

    @property
    def wanted_events(self) -> int:
        """What to wait for, by `selectors`; 0 where nothing that the client does matters."""
        if self.stage is Stage.ANSWERING:
            return 0
        if self._waits_for:
            return self._waits_for
        return EVENT_WRITE if self.stage is Stage.WRITING else EVENT_READ

    def advance(self, now: float) -> Request | None:
        """Do what can be done without waiting; a request, where its head is complete.

        Raises Gone where nothing more can come.
        """
        try:
            self._waits_for = 0
            if self.stage is Stage.BEGINNING:
                self._stream.begin()
                self.stage = Stage.HEAD  # within the same deadline
            if self.stage is Stage.WRITING:
                self._write(now)
            if self.stage in (Stage.HEAD, Stage.IDLE):
                return self._read_head(now)
            if self.stage is Stage.CLOSING and not self._stream.read(_CHUNK_BYTES):
                raise Gone
        except Waits as wait:
            self._waits_for = wait.events
        except BlockingIOError:
            pass
        except OSError as err:
            raise Gone from err
        return None

    def answer(
        self, answer: Answer, configured: Headers, now: float, *, last: bool = False
    ) -> None:
        """Queue the answer to the request that `advance` gave; `advance` then writes it. `last`: no
        other request is taken after it."""
        headers = [
            *response_headers(answer, configured),
            ("Date", format_date_time(time.time())),
            ("Server", "portwatch"),
            ("Content-Length", str(len(answer.body))),
        ]
        if last or self._http.their_state is not h11.DONE:  # a body, which nobody will read
            headers.append(("Connection", "close"))
        response = h11.Response(
            status_code=answer.status.value, headers=headers, reason=answer.status.phrase
        )
        parts = [self._http.send(response)]
        if not self._head_only:
            self.body = answer.body
            parts += self._http.send_with_data_passthrough(h11.Data(data=answer.body)) or ()
        parts += self._http.send_with_data_passthrough(h11.EndOfMessage()) or ()
        self._unsent = [memoryview(part) for part in parts if part]
        self._enter(Stage.WRITING, now, WRITE_SECONDS)

    def close(self) -> None:
        """Close it now, and let the kernel keep nothing that the client has not read."""
        if self._unsent:
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._unsent.clear()
        self.body = b""
        self.socket.close()

    def _enter(self, stage: Stage, now: float, seconds: float) -> None:
        self.stage = stage
        self.since = now
        self.deadline = now + seconds

    def _read_head(self, now: float) -> Request | None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as err:
                self._refuse(err, now)
                return None
            if isinstance(event, h11.Request):
                return self._begin(event)
            if event is not h11.NEED_DATA:
                raise Gone  # the client has closed, between requests or before the first
            self._http.receive_data(self._stream.read(_CHUNK_BYTES))
            if self.stage is Stage.IDLE:
                self._enter(Stage.HEAD, now, HEAD_SECONDS)

    def _begin(self, event: h11.Request) -> Request:
        self._head_only = event.method == b"HEAD"
        if not _has_body(event):
            self._http.next_event()  # its end
        self.stage = Stage.ANSWERING
        self.deadline = inf
        return Request.parse(event.method, event.target, dict(event.headers))

    def _refuse(self, err: h11.RemoteProtocolError, now: float) -> None:
        """Say what is wrong with what is no request, where that can still be said."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise Gone from err
        status = HTTPStatus(err.error_status_hint)
        self._head_only = False
        self.answer(text(status.phrase.lower(), status), (), now)
        self._write(now)

    def _write(self, now: float) -> None:
        for _ in range(_CHUNKS_A_TURN):
            if not self._unsent:
                break
            chunk = self._unsent[0]
            sent = self._stream.write(chunk[:_CHUNK_BYTES])
            self._unsent[0] = chunk[sent:]
            if sent == len(chunk):
                del self._unsent[0]
        if not self._unsent:
            self.body = b""
            self._after_answer(now)

    def _after_answer(self, now: float) -> None:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            ahead = bool(self._http.trailing_data[0])
            stage, seconds = (Stage.HEAD, HEAD_SECONDS) if ahead else (Stage.IDLE, IDLE_SECONDS)
            self._enter(stage, now, seconds)
            return
        # Closing with bytes unread would be a reset, which may overtake the answer.
        self._enter(Stage.CLOSING, now, LINGER_SECONDS)
        self._stream.end()


def _stream(accepted: socket.socket, config: WebConfig) -> Stream:
    if config.tls is None:
        return Stream(accepted)
    from portwatch.agent.web.tls_stream import TlsStream

    return TlsStream(accepted, config.tls, config.allowed_sans)


def _has_body(event: h11.Request) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in event.headers
    )
