"""Unary gRPC calls over a unix socket: h2 speaks HTTP/2, this the little that gRPC adds.

Protocol: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. docs/dependencies.md says why
this is not grpcio.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from portwatch.errors import EngineFailed
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.engines.stream import REPLY_SECONDS, EngineStream, failure

OK, NOT_FOUND, UNIMPLEMENTED = 0, 5, 12
READ_BYTES = 1 << 16
PREFIX = struct.Struct(">BI")  # whether it is compressed, how long it is


class CallRefused(EngineFailed):
    """The engine answered with a `status` other than OK: grpc/status.h."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answers with gRPC status {status}")
        self.status = status


class GrpcChannel:
    """One engine; the connection is kept between calls. Not for two threads at once."""

    def __init__(self, engine: EngineSocket) -> None:
        self._engine = engine
        self._connection: _Connection | None = None

    def call(self, method: str, request: bytes) -> bytes:
        """Return the answer to `/SERVICE/METHOD`; CallRefused, or EngineFailed for all else."""
        try:
            return self._exchange(method, request)
        except CallRefused:
            raise
        # hpack and hyperframe have errors of their own, some of which h2 lets through.
        except Exception as err:
            self.close()
            raise err if isinstance(err, EngineFailed) else failure(err, "gRPC") from err

    def close(self) -> None:
        """Give the connection back; the next call makes another."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, request: bytes) -> bytes:
        if self._connection:
            # One that was kept may be of an engine that has ended since, or told it to go away.
            with contextlib.suppress(ConnectionError, H2Error):
                return self._connection.call(method, request)
            self.close()
        self._connection = _Connection(self._engine)
        return self._connection.call(method, request)


class _Connection:
    def __init__(self, engine: EngineSocket) -> None:
        self._stream = EngineStream(engine)
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http.initiate_connection()

    def close(self) -> None:
        self._stream.close()

    def call(self, method: str, request: bytes) -> bytes:
        self._stream.begin()
        stream_id = self._http.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{REPLY_SECONDS * 1000:.0f}m"),
        ]
        self._http.send_headers(stream_id, headers)
        message = PREFIX.pack(0, len(request)) + request
        self._http.send_data(stream_id, message, end_stream=True)
        self._stream.sendall(self._http.data_to_send())
        answer = _Answer(stream_id)
        while not answer.ended:
            received = bytearray(READ_BYTES)
            count = self._stream.recv_into(received)
            if not count:
                raise ConnectionResetError("it hung up")
            events = self._http.receive_data(bytes(received[:count]))
            answer.take(events)
            for event in events:
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    self._http.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            if not answer.ended:  # else it goes out with the next call, if there is one
                with contextlib.suppress(ConnectionError):  # the answer may be there all the same
                    self._stream.sendall(self._http.data_to_send())
        return answer.message()


class _Answer:
    """What has come of one call's answer."""

    def __init__(self, stream_id: int) -> None:
        self.ended = False
        self._stream_id = stream_id
        self._headers: dict[str, str] = {}
        self._data = bytearray()

    def take(self, events: Iterable[Event]) -> None:
        goodbye = False
        for event in events:
            goodbye |= isinstance(event, ConnectionTerminated)
            if getattr(event, "stream_id", None) != self._stream_id:
                continue
            if isinstance(event, ResponseReceived | TrailersReceived):
                self._headers.update((str(key), str(value)) for key, value in event.headers or ())
            elif isinstance(event, DataReceived):
                self._data += event.data or b""
            elif isinstance(event, StreamReset):
                raise EngineFailed("it broke the call off")
            elif isinstance(event, StreamEnded):
                self.ended = True
        if goodbye and not self.ended:
            raise ConnectionResetError("it said good-bye")

    def message(self) -> bytes:
        """Return the one message that a unary call answers with."""
        http_status, status = self._headers.get(":status", ""), self._headers.get("grpc-status", "")
        if http_status != "200":
            raise EngineFailed(f"it answers with HTTP status {http_status or 'none'}")
        if not (status.isascii() and status.isdecimal() and len(status) <= 3):
            raise EngineFailed("it gives no gRPC status")
        if int(status) != OK:
            raise CallRefused(int(status))
        if len(self._data) < PREFIX.size:
            raise EngineFailed("it answers with no message")
        compressed, length = PREFIX.unpack_from(self._data)
        if compressed or length != len(self._data) - PREFIX.size:
            raise EngineFailed("it answers with no message that can be read")
        return bytes(self._data[PREFIX.size :])
