"""Small engines on real unix sockets: one speaks Docker's API, one CRI, one misbehaves."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from portwatch.node.engines.protobuf import field, fields
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.paths import HostPaths

ME = os.getuid()
GENEROUS_SECONDS = 30.0


def container_id(start: str) -> str:
    """A whole id that starts like this."""
    return start.ljust(64, "0")


def my_socket(path: Path, runtime: str = "docker") -> EngineSocket:
    """A socket that whoever runs the tests owns."""
    return EngineSocket(runtime, path, ME)


def my_run(host: HostPaths) -> Path:
    """Where the well-known sockets of whoever runs the tests are."""
    directory = host.run if ME == 0 else host.run / "user" / str(ME)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition, generously."""
    deadline = time.monotonic() + GENEROUS_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.002)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves until left; `connections` counts those it took."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, handle: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._handle = handle
        self._open: set[socket.socket] = set()
        super().__init__(str(path), socketserver.BaseRequestHandler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Talk to one client until it or the engine hangs up."""
        self.connections += 1
        self._open.add(request)
        with contextlib.suppress(OSError):
            self._handle(request)

    def shutdown_request(self, request: Any) -> None:
        """Hang up."""
        self._open.discard(request)
        super().shutdown_request(request)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):  # as when an engine ends
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open, "the connections have ended")
        Path(str(self.server_address)).unlink()


def replying(path: Path, *pieces: bytes, pause_seconds: float = 0.0, hold: bool = False) -> Server:
    """Say these pieces to whoever asks anything, whatever it is; then hang up, or never."""

    def handle(connection: socket.socket) -> None:
        if not connection.recv(1 << 16):
            return
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_seconds)
        while hold and connection.recv(1 << 16):
            pass

    return Server(path, handle)


def http_reply(body: object) -> bytes:
    """A whole HTTP reply of this JSON, or of these bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


def docker_container(start: str, name: str, **more: Any) -> dict[str, Any]:
    """A container as the list has it."""
    return {
        "Id": container_id(start),
        "Names": [f"/{name}"],
        "Image": "localhost/binder:latest",
        "ImageID": "sha256:" + "ab" * 32,
        "Labels": {},
        "State": "running",
    } | more


class DockerEngine:
    """Containers that a test may add to; `asked` holds the ids of each list that was asked for.

    It filters by prefix, as the real ones do. `gate` is waited for by inspect.
    """

    def __init__(self, *containers: dict[str, Any]) -> None:
        self.containers = list(containers)
        self.pids: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.list_gate = threading.Event()
        self.list_gate.set()
        self.stuck: str | None = None

    def serve(self, path: Path) -> Server:
        """Answer on a socket until left."""
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *arguments: object) -> None:
                pass

            def address_string(self) -> str:
                return "unix"

            def do_GET(self) -> None:
                body = engine.answer(self.path)
                self.send_response(404 if body is None else 200)
                data = json.dumps(body if body is not None else {"message": "no such"}).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def handle(connection: socket.socket) -> None:
            Handler(connection, "unix", None)  # type: ignore[arg-type]

        return Server(path, handle)

    def answer(self, target: str) -> Any:
        """What a GET of this answers with; None: 404."""
        url = urlsplit(target)
        if url.path == "/containers/json":
            query = parse_qs(url.query)
            ids = json.loads(query["filters"][0])["id"]
            self.asked.append(ids)
            self.list_gate.wait(GENEROUS_SECONDS)
            if self.stuck in ids:
                raise BrokenPipeError  # hangs up without an answer
            assert query["all"] == ["1"]
            return [one for one in self.containers if any(one["Id"].startswith(i) for i in ids)]
        self.gate.wait(GENEROUS_SECONDS)
        wanted = unquote(url.path.removeprefix("/containers/").removesuffix("/json"))
        for one in self.containers:
            if one["Id"].startswith(wanted):
                return {"Id": one["Id"], "State": {"Pid": self.pids.get(one["Id"], 0)}}
        return None


def entries(number: int, texts: dict[str, str]) -> bytes:
    """A map of texts, as a field."""
    return b"".join(field(number, field(1, k) + field(2, v)) for k, v in texts.items())


def cri_container(start: str, name: str, image: str = "", asked_for: str = "") -> bytes:
    """A `Container` message."""
    return b"".join(
        [
            field(1, container_id(start)),
            field(2, container_id("5a")),
            field(3, field(1, name) + field(2, 3)),
            field(4, field(1, image) + field(18, asked_for)),
            field(5, "registry.test/shop@sha256:" + "cd" * 32),
            field(6, 1),
            field(7, 1_700_000_000_000_000_000),
            entries(8, {"io.kubernetes.container.name": name, "app": "shop"}),
        ]
    )


def cri_sandbox(start: str, labels: dict[str, str]) -> bytes:
    """A `PodSandbox` message."""
    metadata = field(1, "web-0") + field(2, "some-uid") + field(3, "shop")
    return field(1, container_id(start)) + field(2, metadata) + entries(5, labels)


def cri_status(start: str, name: str, image: str, pid: int) -> bytes:
    """A `ContainerStatusResponse` message."""
    status = [
        field(1, container_id(start)),
        field(2, field(1, name)),
        field(8, field(1, image)),
        field(9, "sha256:" + "cd" * 32),
        entries(12, {"app": "shop"}),
    ]
    return field(1, b"".join(status)) + entries(2, {"info": json.dumps({"pid": pid})})


class CriEngine:
    """Serves ListContainers, ListPodSandbox and ContainerStatus of one version of CRI; `asked`
    holds the paths."""

    def __init__(self, version: str = "v1") -> None:
        self.service = f"runtime.{version}.RuntimeService"
        self.containers: dict[str, bytes] = {}
        self.sandboxes: dict[str, bytes] = {}
        self.statuses: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.goodbye = False

    def serve(self, path: Path) -> Server:
        """Answer on a socket until left."""
        return Server(path, self._handle)

    def answer(self, method: str, request: bytes) -> tuple[int, bytes]:
        """What a call answers with: a gRPC status and a message."""
        self.asked.append(method)
        service, _, name = method.removeprefix("/").partition("/")
        if service != self.service:
            return 12, b""
        values = dict(fields(request))
        if name in ("ListContainers", "ListPodSandbox"):
            listed = self.containers if name == "ListContainers" else self.sandboxes
            wanted = dict(fields(values.get(1, b""))).get(1)  # type: ignore[arg-type]
            chosen = [m for i, m in listed.items() if wanted in (None, i.encode())]
            return 0, b"".join(field(1, message) for message in chosen)
        status = self.statuses.get(values[1].decode())  # type: ignore[union-attr]
        return (0, status) if status else (5, b"")

    def _handle(self, connection: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        methods: dict[int, str] = {}
        bodies: dict[int, bytes] = {}
        unsent: dict[int, bytes] = {}
        while data := connection.recv(1 << 16):
            for event in http.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = dict(event.headers)
                    assert headers["content-type"] == "application/grpc"
                    assert headers["te"] == "trailers"
                    methods[event.stream_id] = headers[":path"]
                    bodies[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                elif isinstance(event, StreamEnded):
                    stream = event.stream_id
                    status, message = self.answer(methods[stream], bodies[stream][5:])
                    headers = [(":status", "200"), ("content-type", "application/grpc")]
                    if status:
                        headers.append(("grpc-status", str(status)))
                    else:
                        unsent[stream] = b"\0" + len(message).to_bytes(4, "big") + message
                    http.send_headers(stream, headers, end_stream=bool(status))
            for stream in list(unsent):
                unsent[stream] = _send(http, stream, unsent[stream])
                if not unsent[stream]:
                    del unsent[stream]
            connection.sendall(http.data_to_send())
            if self.goodbye and not unsent:
                http.close_connection()
                connection.sendall(http.data_to_send())
                return


def _send(http: H2Connection, stream: int, data: bytes) -> bytes:
    """Send what the client's windows allow, the trailers after the last; what is left."""
    while data and (room := http.local_flow_control_window(stream)):
        size = min(room, http.max_outbound_frame_size)
        http.send_data(stream, data[:size])
        data = data[size:]
        if not data:
            http.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    return data


@contextlib.contextmanager
def no_threads_left() -> Iterator[None]:
    """Whatever threads are started within end."""
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "its threads have ended")
