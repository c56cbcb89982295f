"""What is where: /metrics in the format that the scraper asks for, and the agent's pages."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from portwatch.agent.web.answer import HTML, Answer, Headers, Page, text
from portwatch.agent.web.request import Request

METRICS = "/metrics"
MAX_PARAMETERS = 100

_EVERYWHERE: Headers = (("X-Content-Type-Options", "nosniff"),)
_ON_HTML: Headers = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "script-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
)


class Site:
    """Answers requests, in a worker's thread; `pages` is path → page."""

    def __init__(self, registry: CollectorRegistry, pages: Mapping[str, Page]) -> None:
        self._exposition = make_wsgi_app(_ByName(registry))
        self._pages = pages

    @staticmethod
    def key(request: Request) -> Hashable:
        """What requests have in common that one answer will do for."""
        if request.path == METRICS:
            negotiated = request.header(b"accept"), request.header(b"accept-encoding")
            names = dict.fromkeys(parse_qs(request.query).get("name[]", ()))
            return request.path, tuple(names), negotiated
        return request.path, request.query

    def answer(self, request: Request) -> Answer:
        """The whole answer to a GET or HEAD."""
        if request.path == METRICS:
            return self._metrics(request)
        page = self._pages.get(request.path)
        if page is None:
            return text("see /metrics, /healthz, /readyz", HTTPStatus.NOT_FOUND)
        try:
            query = dict(parse_qsl(request.query, max_num_fields=MAX_PARAMETERS))
        except ValueError:
            return text("too many parameters", HTTPStatus.BAD_REQUEST)
        return page(query)

    def _metrics(self, request: Request) -> Answer:
        """By prometheus_client's WSGI application: its negotiation, compression and `name[]`."""
        got: list[Any] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": METRICS,
            "QUERY_STRING": request.query,
            "HTTP_ACCEPT": request.header(b"accept"),
            "HTTP_ACCEPT_ENCODING": request.header(b"accept-encoding"),
        }
        (body,) = self._exposition(environ, lambda *started: got.extend(started))
        status, headers = got
        more = dict(headers)
        kind = more.pop("Content-Type")
        return Answer(HTTPStatus(int(status.split()[0])), kind, body, tuple(more.items()))


class _ByName(Collector):
    """A registry for `name[]`: prometheus_client's own finds only what collectors say beforehand,
    which portwatch's, made anew at each scrape, do not."""

    def __init__(self, registry: CollectorRegistry, names: Collection[str] = ()) -> None:
        self._registry = registry
        self._names = names

    def restricted_registry(self, names: Collection[str]) -> _ByName:
        """Called by the exposition where the query has names of samples."""
        return _ByName(self._registry, frozenset(names))

    def collect(self) -> Iterable[Metric]:
        """All families, or those that have a sample of these names, and only these samples."""
        for family in self._registry.collect():
            if self._names:
                family.samples = [one for one in family.samples if one.name in self._names]
            if family.samples or not self._names:
                yield family


def response_headers(answer: Answer, configured: Headers) -> Headers:
    """All that describe an answer, one each: what is configured goes over what portwatch has."""
    on_it = _EVERYWHERE + (_ON_HTML if answer.content_type == HTML else ())
    own = (("Content-Type", answer.content_type), *on_it, *answer.headers)
    return tuple((dict(own) | dict(configured)).items())
