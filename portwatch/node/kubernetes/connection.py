"""One request to the API server, and its answer as the bytes come.

http.client and ssl of the standard library: the `kubernetes` package takes ten times the memory of
all this (docs/dependencies.md).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlencode

from portwatch.errors import ApiFailed
from portwatch.node.kubernetes.server import ApiServer
from portwatch.node.kubernetes.shapes import BAD_JSON, read_status

CONNECT_SECONDS = 10.0
PIECE_BYTES = 32 << 10
MAX_REFUSAL_BYTES = 16 << 10
USER_AGENT = "portwatch"

_REASONS = {401: "unauthorized", 403: "unauthorized", 410: "gone", 429: "busy", 504: "gone"}
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class ApiConnection:
    """A connection for one request; `idle_seconds` is how long nothing may come."""

    def __init__(self, server: ApiServer, idle_seconds: float) -> None:
        self._server = server
        self._idle_seconds = idle_seconds
        self._http = _opened(server)
        self._response: HTTPResponse | None = None

    def get(self, path: str, parameters: dict[str, str]) -> None:
        """Ask; ApiFailed where that is refused."""
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        token = self._server.bearer()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        target = f"{self._server.url.path.rstrip('/')}{path}?{urlencode(parameters)}"
        try:
            self._http.connect()
            for option, value in _KEEPALIVE:
                self._http.sock.setsockopt(socket.IPPROTO_TCP, option, value)
            self._http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._http.request("GET", target, headers=headers)
            self._http.sock.settimeout(self._idle_seconds)
            self._response = self._http.getresponse()
            if self._response.status != 200:
                raise self._refusal(self._response)
        except (HTTPException, OSError, ValueError) as err:
            raise _failure(err) from err

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer as it comes; ApiFailed where it ends early or nothing comes."""
        assert self._response
        try:
            while piece := self._response.read1(PIECE_BYTES):
                yield piece
        except (HTTPException, OSError, ValueError) as err:
            raise _failure(err) from err

    def cut(self) -> None:
        """End it from another thread: who reads gets ApiFailed."""
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it has ended already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS' own, which changes state

    def close(self) -> None:
        """Give it back."""
        if self._response:
            self._response.close()
        self._http.close()

    def _refusal(self, response: HTTPResponse) -> ApiFailed:
        said = ""
        with contextlib.suppress(*BAD_JSON, HTTPException, OSError):  # the status is enough
            said = read_status(response.read(MAX_REFUSAL_BYTES)).message
        reason = _REASONS.get(response.status, "server")
        text = f"HTTP status {response.status}"
        if said:
            text += f": {said[:200].encode('unicode_escape').decode()}"
        return ApiFailed(reason, text)


def _opened(server: ApiServer) -> HTTPConnection:
    if server.url.scheme == "http":
        return HTTPConnection(server.host, server.port, timeout=CONNECT_SECONDS)
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
    return _Secure(server, context)


class _Secure(HTTPSConnection):
    """Knows the server by another name where it has to."""

    def __init__(self, server: ApiServer, context: ssl.SSLContext) -> None:
        super().__init__(server.host, server.port, timeout=CONNECT_SECONDS, context=context)
        self._known_as = server.server_name or server.host
        self._tls = context

    def connect(self) -> None:
        HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._known_as)


def _failure(err: Exception) -> ApiFailed:
    if isinstance(err, TimeoutError):
        return ApiFailed("network", "nothing came in time")
    if isinstance(err, ssl.SSLError):
        return ApiFailed("tls", _text(err))
    if isinstance(err, OSError):
        return ApiFailed("network", _text(err))
    return ApiFailed("network", "the connection ended half-way, or is not HTTP")


def _text(err: Exception) -> str:
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {err.verify_message}"
    return getattr(err, "strerror", None) or str(err) or "it hung up"
