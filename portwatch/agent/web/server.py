"""The HTTP server: /metrics and the agent's pages, from threads of its own."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from portwatch.agent.metrics.exposition import choose_format, takes_gzip, write_page
from portwatch.agent.metrics.families import CollectorRegistry
from portwatch.agent.web.answer import Answer, Page, text
from portwatch.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_LISTEN = "127.0.0.1:9477"
CLIENT_TIMEOUT_SECONDS = 10.0
STOP_POLL_SECONDS = 0.5
GZIP_LEVEL = 1  # 9 takes three times as long for a page 7 % smaller
StartResponse = Callable[..., Any]


def parse_listen(listen: str) -> tuple[str, int]:
    """`ADDR:PORT`, `[ADDR]:PORT` or `:PORT`; UsageError for anything else."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    if not colon or not is_port:
        raise UsageError(f"{listen!r} is not ADDR:PORT", hint=f"for example {DEFAULT_LISTEN}")
    return host, int(port)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_SECONDS

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug("%s %s", self.client_address[0], format % arguments)


ServerHandler.server_software = "portwatch"  # not the version of Python


class WebServer:
    """Serves until stopped; `url` has the port that it got."""

    def __init__(self, listen: str, registry: CollectorRegistry, pages: dict[str, Page]) -> None:
        host, port = parse_listen(listen)
        self._registry = registry
        self._pages = pages
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server_class = type("Server", (_Server,), {"address_family": family})
        try:
            self._server = server_class((host, port), _Handler)
        except (OSError, UnicodeError) as err:  # UnicodeError: no host name by IDNA's rules
            reason = getattr(err, "strerror", None) or err
            raise UsageError(
                f"cannot serve on {listen}: {reason}",
                hint="choose another address with --listen",
            ) from err
        self._server.set_app(self._dispatch)
        shown = f"[{host}]" if ":" in host else host or "0.0.0.0"  # noqa: S104 (only shown)
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_SECONDS,), daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more and give the port back."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _dispatch(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            refusal = text("only GET and HEAD", HTTPStatus.METHOD_NOT_ALLOWED)
            return _send(start, refusal)
        if path == "/metrics":
            return self._metrics(environ, start)
        page = self._pages.get(path)
        if page is None:
            return _send(start, text("see /metrics, /healthz, /readyz", HTTPStatus.NOT_FOUND))
        return _send(start, page(dict(parse_qsl(environ.get("QUERY_STRING", "")))))

    def _metrics(self, environ: dict[str, Any], start: StartResponse) -> list[bytes]:
        page_format = choose_format(environ.get("HTTP_ACCEPT", ""))
        page = write_page(self._registry.collect(), page_format)
        headers = [("Content-Type", page_format.content_type)]
        if takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            headers.append(("Content-Encoding", "gzip"))
            page = gzip.compress(page, GZIP_LEVEL)
        start("200 OK", headers)
        return [page]


def _send(start: StartResponse, answer: Answer) -> list[bytes]:
    status = f"{answer.status.value} {answer.status.phrase}"
    start(status, [("Content-Type", answer.content_type)])
    return [answer.body]
