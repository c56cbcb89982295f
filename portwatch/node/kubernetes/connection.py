"""One request to the API server, and its answer as the bytes come.

By h11, which the agent has for its web server anyway, over a socket with or without TLS. What else
there is takes more memory: docs/dependencies.md.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import h11

from portwatch.errors import ApiFailed
from portwatch.node.kubernetes.server import ApiServer
from portwatch.node.kubernetes.shapes import BAD_JSON, read_status

if TYPE_CHECKING:
    import ssl

CONNECT_SECONDS = 10.0
PIECE_BYTES = 32 << 10
MAX_HEADER_BYTES = 64 << 10
MAX_REFUSAL_BYTES = 16 << 10
MAX_SAID = 200

_REASONS = {401: "unauthorized", 403: "unauthorized", 410: "gone", 429: "busy", 504: "gone"}
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class ApiConnection:
    """A connection for one request; `idle_seconds` is how long nothing may come."""

    def __init__(self, server: ApiServer, idle_seconds: float) -> None:
        self._server = server
        self._idle_seconds = idle_seconds
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._socket: socket.socket | None = None
        self._is_cut = False

    def get(self, path: str, parameters: dict[str, str]) -> None:
        """Ask; ApiFailed where that is refused."""
        headers = [
            ("Host", self._server.url.netloc.rpartition("@")[2]),
            ("Accept", "application/json"),
            ("User-Agent", "portwatch"),
        ]
        token = self._server.bearer()
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        target = f"{self._server.url.path.rstrip('/')}{path}?{urlencode(parameters)}"
        with _translated():
            self._socket = _opened(self._server)
            if self._is_cut:
                raise ConnectionAbortedError
            request = h11.Request(method="GET", target=target, headers=headers)
            asked = self._http.send(request), self._http.send(h11.EndOfMessage())
            self._socket.sendall(b"".join(part or b"" for part in asked))
            self._socket.settimeout(self._idle_seconds)
            answer = self._next()
            while isinstance(answer, h11.InformationalResponse):
                answer = self._next()
            if not isinstance(answer, h11.Response):
                raise ConnectionResetError
            if answer.status_code != 200:
                raise self._refusal(answer.status_code)

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer as it comes; ApiFailed where it ends early or nothing comes."""
        with _translated():
            while isinstance(event := self._next(), h11.Data):
                yield bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                raise ConnectionResetError

    def cut(self) -> None:
        """End it from another thread: who reads gets ApiFailed."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended already
                # Not TLS' own shutdown(), which changes what the other thread is using.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give it back."""
        if self._socket is not None:
            self._socket.close()

    def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        assert self._socket
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(PIECE_BYTES))
        return event

    def _refusal(self, status: int) -> ApiFailed:
        text = bytearray()
        with contextlib.suppress(OSError, h11.ProtocolError):  # the status is enough
            while len(text) < MAX_REFUSAL_BYTES and isinstance(event := self._next(), h11.Data):
                text += event.data
        said = ""
        with contextlib.suppress(*BAD_JSON):
            said = one_line(read_status(bytes(text)).message)
        message = f"HTTP status {status}: {said}" if said else f"HTTP status {status}"
        return ApiFailed(_REASONS.get(status, "server"), message)


def one_line(text: str) -> str:
    """Return what a server said as a line of a log may have it."""
    return text[:MAX_SAID].encode("unicode_escape").decode()


def _opened(server: ApiServer) -> socket.socket:
    """A connection; for https by TLS, with the CA and the certificate as their files are now."""
    context = None if server.url.scheme == "http" else _tls(server)
    where: Any = (_ascii(server.host), server.port)  # getaddrinfo() takes bytes, too
    plain = socket.create_connection(where, CONNECT_SECONDS)
    try:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            plain.setsockopt(socket.IPPROTO_TCP, option, value)
        if context is None:
            return plain
        name = _ascii(server.server_name or server.host)
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def _ascii(name: str) -> bytes:
    """Python itself would load its tables for IDNA, 300 KiB, whatever the name is."""
    return name.encode("ascii" if name.isascii() else "idna")


def _tls(server: ApiServer) -> ssl.SSLContext:
    import ssl  # OpenSSL, four megabytes: only for https

    try:
        context = ssl.create_default_context(
            cafile=str(server.ca_file) if server.ca_file else None, cadata=server.ca_text
        )
        if server.certificate_file:
            context.load_cert_chain(server.certificate_file, server.key_file)
    except (OSError, ValueError) as err:
        files = [server.ca_file, server.certificate_file, server.key_file]
        named = ", ".join(str(path) for path in files if path)
        raise ApiFailed("tls", f"{named or 'its CA'}: {_text(err)}") from err
    return context


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What may go wrong on the way, as ApiFailed."""
    try:
        yield
    except TimeoutError as err:
        raise ApiFailed("network", "nothing came in time") from err
    except (OSError, ValueError) as err:
        reason = "tls" if type(err).__module__ == "ssl" else "network"
        raise ApiFailed(reason, _text(err)) from err
    except h11.ProtocolError as err:
        raise ApiFailed("network", f"it ended half-way, or is not HTTP: {err}") from err


def _text(err: Exception) -> str:
    verify = getattr(err, "verify_message", None)
    if verify:
        return f"its certificate is not to be trusted: {verify}"
    return getattr(err, "strerror", None) or str(err) or "it hung up"
