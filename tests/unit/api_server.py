"""A stand-in for the Kubernetes API server: as much of its protocol as lists and watches pods.

As documented (API concepts: "Efficient detection of changes", "Retrieving large results sets in
chunks", "Resource versions"): lists with `limit` and `continue`, `resourceVersion`,
`resourceVersionMatch`, watches from a version on with bookmarks, `410 Gone` for what is too old,
`fieldSelector=spec.nodeName`, bearer tokens, TLS. What goes wrong is asked for by name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Object = dict[str, Any]

FIRST_VERSION = 1000


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    parameters: dict[str, str]
    token: str | None

    @property
    def is_watch(self) -> bool:
        """Whether it watches; else it lists."""
        return self.parameters.get("watch") in ("1", "true")


@dataclass
class Trouble:
    """What goes wrong. `status`: for all that is asked; `trickle_seconds`: after each 512 bytes;
    `hang`: no answer comes; `gone_watches`: how many watches are told 410 at once."""

    status: int = 0
    trickle_seconds: float = 0.0
    hang: bool = False
    gone_watches: int = 0
    page_limit_in_memory: bool = False


class ApiServer:
    """Serves on 127.0.0.1; `tls` are the files of its certificate and key."""

    def __init__(self, token: str | None = None, tls: tuple[Path, Path] | None = None) -> None:
        self.token = token
        self.trouble = Trouble()
        self.asked: list[Asked] = []
        self.sent_bytes = 0
        self._version = FIRST_VERSION
        self._oldest = FIRST_VERSION
        self._pods: dict[tuple[str, str], Object] = {}
        self._history: list[tuple[int, str, Object]] = []
        self._raw: list[bytes] = []
        self._changed = threading.Condition()
        self._watching: dict[socket.socket, bool] = {}
        self._drops = 0
        self._closed = False
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def watches(self) -> int:
        """How many are going on."""
        return len(self._watching)

    @property
    def lists(self) -> list[Asked]:
        """What was asked for as a list."""
        return [one for one in self.asked if not one.is_watch]

    def put(self, pod: Object) -> float:
        """A pod is made, or changed; when, on the monotonic clock, just before watches hear it."""
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        with self._changed:
            kind = "MODIFIED" if key in self._pods else "ADDED"
            return self._tell(kind, key, pod)

    def delete(self, pod: Object) -> float:
        """A pod is deleted."""
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        with self._changed:
            return self._tell("DELETED", key, pod)

    def bookmark(self) -> None:
        """Say to all watches how far they are; other objects than pods have changed meanwhile."""
        with self._changed:
            self._version += 100
            version = {"metadata": {"resourceVersion": str(self._version)}}
            mark = {"kind": "Pod", "apiVersion": "v1", **version, "spec": {"containers": None}}
            self._history.append((self._version, "BOOKMARK", mark))
            self._changed.notify_all()

    def compact(self) -> None:
        """Forget all history: a watch can begin at the newest version only."""
        with self._changed:
            self._oldest = self._version = self._version + 1
            self._history.clear()

    def say(self, line: bytes) -> None:
        """Send all watches a line of this test's own."""
        with self._changed:
            self._raw.append(line)
            self._changed.notify_all()

    def drop_watches(self) -> None:
        """Cut all connections of watches."""
        with self._changed:
            for connection in self._watching:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            self._changed.notify_all()

    def close(self) -> None:
        """End, and every connection with it."""
        self._closed = True
        self._http.shutdown()
        self._http.server_close()
        self.drop_watches()
        self._thread.join(5)

    def _tell(self, kind: str, key: tuple[str, str], pod: Object) -> float:
        self._version += 1
        pod = {**pod, "metadata": {**pod["metadata"], "resourceVersion": str(self._version)}}
        if kind == "DELETED":
            self._pods.pop(key, None)
        else:
            self._pods[key] = pod
        self._history.append((self._version, kind, pod))
        now = time.monotonic()
        self._changed.notify_all()
        return now

    def list_page(self, asked: Asked) -> tuple[int, Object]:
        """Status and body of one page."""
        given = asked.parameters
        token = given.get("continue")
        with self._changed:
            if token:
                at, version = json.loads(base64.b64decode(token))
                if version < self._oldest:
                    return 410, _status(
                        410, "Expired", "the provided continue parameter is too old"
                    )
            else:
                at, version = 0, self._version
                wanted = int(given.get("resourceVersion") or 0)
                if wanted > self._version:
                    return 504, _status(504, "Timeout", f"Too large resource version: {wanted}")
            pods = [pod for _, pod in sorted(self._pods.items()) if _on_node(pod, given)]
            from_memory = "resourceVersion" in given and not self.trouble.page_limit_in_memory
            limit = 0 if from_memory and not token else int(given.get("limit", 0))
            page = pods[at : at + limit] if limit else pods[at:]
            metadata = {"resourceVersion": str(version)}
            if limit and at + limit < len(pods):
                metadata["continue"] = base64.b64encode(
                    json.dumps([at + limit, version]).encode()
                ).decode()
                metadata["remainingItemCount"] = len(pods) - at - limit  # type: ignore[assignment]
            items = [
                {k: v for k, v in pod.items() if k not in ("kind", "apiVersion")} for pod in page
            ]
            return 200, {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": metadata,
                "items": items,
            }

    def watch(self, asked: Asked, connection: socket.socket) -> Iterator[bytes]:
        """The lines of a watch."""
        version = int(asked.parameters.get("resourceVersion") or 0)
        deadline = time.monotonic() + float(asked.parameters.get("timeoutSeconds", 3600))
        bookmarks = asked.parameters.get("allowWatchBookmarks") == "true"
        with self._changed:
            gone = version < self._oldest or self.trouble.gone_watches > 0
            self.trouble.gone_watches -= self.trouble.gone_watches > 0
            raw = len(self._raw)
            self._watching[connection] = True
        try:
            if gone:
                said = _status(410, "Expired", f"too old resource version: {version}")
                yield _line("ERROR", said)
                return
            while True:
                with self._changed:
                    lines = self._raw[raw:]
                    raw = len(self._raw)
                    for at, kind, thing in self._history:
                        if at <= version or (kind == "BOOKMARK" and not bookmarks):
                            continue
                        version = at
                        if kind == "BOOKMARK" or _on_node(thing, asked.parameters):
                            lines.append(_line(kind, thing))
                    left = deadline - time.monotonic()
                    if not lines:
                        if left <= 0 or self._closed or connection.fileno() < 0:
                            return
                        self._changed.wait(min(left, 0.5))
                yield from lines
        finally:
            with self._changed:
                self._watching.pop(connection, None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up, and tests cut connections."""


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Lists and watches of pods; nothing else."""
            split = urlsplit(self.path)
            kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
            asked = Asked(
                split.path, dict(parse_qsl(split.query)), token if kind == "Bearer" else None
            )
            api.asked.append(asked)
            if api.trouble.hang:
                time.sleep(60)
            if api.token is not None and asked.token != api.token:
                self._answer(401, _status(401, "Unauthorized", "Unauthorized"))
            elif api.trouble.status:
                code = api.trouble.status
                self._answer(code, _status(code, "InternalError", "etcdserver: request timed out"))
            elif asked.path != "/api/v1/pods":
                self._answer(404, _status(404, "NotFound", "the server has no such resource"))
            elif asked.is_watch:
                self._begin(200, chunked=True)
                for line in api.watch(asked, self.connection):
                    self._send(line)
                self.wfile.write(b"0\r\n\r\n")
            else:
                self._answer(*api.list_page(asked))

        def _answer(self, code: int, body: Object) -> None:
            text = json.dumps(body).encode()
            self._begin(code, chunked=True)
            for at in range(0, len(text), 16384):
                self._send(text[at : at + 16384])
            self.wfile.write(b"0\r\n\r\n")

        def _begin(self, code: int, chunked: bool) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding" if chunked else "Connection", "chunked")
            self.end_headers()

        def _send(self, text: bytes) -> None:
            step = 512 if api.trouble.trickle_seconds else len(text)
            for at in range(0, len(text), step):
                part = text[at : at + step]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                self.wfile.flush()
                api.sent_bytes += len(part)
                if api.trouble.trickle_seconds:
                    time.sleep(api.trouble.trickle_seconds)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    return Handler


def _line(kind: str, thing: Object) -> bytes:
    return json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"


def _status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _on_node(pod: Object, parameters: dict[str, str]) -> bool:
    key, _, value = parameters.get("fieldSelector", "").partition("=")
    return key != "spec.nodeName" or pod["spec"]["nodeName"] == value
