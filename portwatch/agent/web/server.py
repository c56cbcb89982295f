"""The HTTP server: /metrics, /healthz, /readyz and a landing page, from threads of its own."""

from __future__ import annotations

import html
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from portwatch.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_LISTEN = "127.0.0.1:9477"
CLIENT_TIMEOUT_SECONDS = 10.0
STOP_POLL_SECONDS = 0.1
TEXT = [("Content-Type", "text/plain; charset=utf-8")]
HTML = [("Content-Type", "text/html; charset=utf-8")]

Readiness = Callable[[], str]
"""Empty where the agent is ready, else the reason why it is not."""

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

    def __init__(self, listen: str, registry: CollectorRegistry, readiness: Readiness) -> None:
        host, port = parse_listen(listen)
        self._pages: dict[str, Callable[..., Iterable[bytes]]] = {
            "/metrics": make_wsgi_app(registry),
            "/healthz": lambda _environ, start: _text(start, "200 OK", "alive"),
            "/readyz": lambda _environ, start: _ready(start, readiness()),
            "/": lambda _environ, start: _landing(start, readiness()),
        }
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
        page = self._pages.get(environ.get("PATH_INFO", "/"))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(start, "405 Method Not Allowed", "only GET and HEAD")
        if page is None:
            return _text(start, "404 Not Found", "see /metrics, /healthz, /readyz")
        return page(environ, start)


def _text(start: StartResponse, status: str, text: str) -> list[bytes]:
    start(status, list(TEXT))  # wsgiref adds Content-Length to the list that it is given
    return [text.encode() + b"\n"]


def _ready(start: StartResponse, reason: str) -> list[bytes]:
    return _text(start, "503 Service Unavailable" if reason else "200 OK", reason or "ready")


def _landing(start: StartResponse, reason: str) -> list[bytes]:
    start("200 OK", list(HTML))
    state = f"not ready: {html.escape(reason)}" if reason else "ready"
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="color-scheme" content="light dark"><title>portwatch</title>
<h1>portwatch</h1><p>The agent is {state}.</p>
<ul><li><a href="/metrics">Metrics</a></li><li><a href="/healthz">Alive?</a></li>
<li><a href="/readyz">Ready?</a></li></ul></html>
"""
    return [page.encode()]
