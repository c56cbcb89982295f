"""The frame of a page: head, styles, landmarks."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from pathlib import Path

from portwatch import __version__
from portwatch.agent.web.answer import HTML, Answer
from portwatch.agent.web.markup import Html, element

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'"
)
"""No script runs, whatever gets onto the page."""

LINKS = (("/", "Port map"), ("/metrics", "Metrics"), ("/healthz", "Alive?"), ("/readyz", "Ready?"))


def page(
    title: str, *parts: str | None, status: HTTPStatus = HTTPStatus.OK, refresh: int | None = None
) -> Answer:
    """A whole page around what is in its `main`; `refresh`: loaded again after so many seconds."""
    again = element("meta", http_equiv="refresh", content=refresh) if refresh else None
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        again,
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", _styles()),
    )
    links = [element("li", element("a", text, href=path)) for path, text in LINKS]
    header = element(
        "header",
        element("a", "Skip to the content", href="#main", class_="skip"),
        element("a", "portwatch", href="/", class_="brand"),
        element("nav", element("ul", *links), aria_label="Pages"),
    )
    body = element(
        "body",
        header,
        element("main", *parts, id="main"),
        element("footer", f"portwatch {__version__}"),
    )
    whole = f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
    return Answer(status, HTML, whole.encode())


@cache
def _styles() -> Html:
    return Html(Path(__file__).with_name("page.css").read_text())
