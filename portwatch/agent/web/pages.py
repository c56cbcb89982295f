"""The pages that every agent has beside /metrics: alive, ready, and one to begin at."""

from __future__ import annotations

import html
from collections.abc import Callable
from http import HTTPStatus

from portwatch.agent.web.answer import HTML, Answer, Page, Query, text

Readiness = Callable[[], str]
"""Empty where the agent is ready, else the reason why it is not."""


def agent_pages(readiness: Readiness) -> dict[str, Page]:
    """Path → page."""

    def ready(_query: Query) -> Answer:
        reason = readiness()
        return text(reason or "ready", HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK)

    return {
        "/healthz": lambda _query: text("alive"),
        "/readyz": ready,
        "/": lambda _query: _landing(readiness()),
    }


def _landing(reason: str) -> Answer:
    state = f"not ready: {html.escape(reason)}" if reason else "ready"
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="color-scheme" content="light dark"><title>portwatch</title>
<h1>portwatch</h1><p>The agent is {state}.</p>
<ul><li><a href="/metrics">Metrics</a></li><li><a href="/healthz">Alive?</a></li>
<li><a href="/readyz">Ready?</a></li></ul></html>
"""
    return Answer(HTTPStatus.OK, HTML, page.encode())
