"""What is where: /metrics in the format that the scraper asks for, and the agent's pages."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, parse_qsl

from portwatch.agent.metrics.exposition import choose_format, takes_gzip, write_page
from portwatch.agent.metrics.families import CollectorRegistry, Metric
from portwatch.agent.web.answer import HTML, Answer, Headers, Page, text
from portwatch.agent.web.request import Request

METRICS = "/metrics"
MAX_PARAMETERS = 100
GZIP_LEVEL = 1  # 9 takes three times as long for a page 7 % smaller

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
        self._registry = registry
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
        names = frozenset(parse_qs(request.query).get("name[]", ()))
        page_format = choose_format(request.header(b"accept"))
        body = write_page(_named(self._registry.collect(), names), page_format)
        if not takes_gzip(request.header(b"accept-encoding")):
            return Answer(HTTPStatus.OK, page_format.content_type, body)
        body = gzip.compress(body, GZIP_LEVEL)
        encoded: Headers = (("Content-Encoding", "gzip"),)
        return Answer(HTTPStatus.OK, page_format.content_type, body, encoded)


def _named(families: Iterable[Metric], names: Collection[str]) -> Iterator[Metric]:
    """All families, or those that have a sample of these names, and only these samples."""
    for family in families:
        if names:
            family.samples = [one for one in family.samples if one.name in names]
        if family.samples or not names:
            yield family


def response_headers(answer: Answer, configured: Headers) -> Headers:
    """All that describe an answer, one each: what is configured goes over what portwatch has."""
    on_it = _EVERYWHERE + (_ON_HTML if answer.content_type == HTML else ())
    own = (("Content-Type", answer.content_type), *on_it, *answer.headers)
    return tuple((dict(own) | dict(configured)).items())
