"""The pages that every agent has beside /metrics: alive, ready, the overview, and why."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from portwatch.agent.web.answer import Answer, Page, Query, text

if TYPE_CHECKING:
    from portwatch.agent.web.look import Outlook
    from portwatch.agent.web.overview import Overview

Readiness = Callable[[], str]
"""Empty where the agent is ready, else the reason why it is not."""


def agent_pages(readiness: Readiness, outlook: Callable[[], Outlook]) -> dict[str, Page]:
    """Path → page. `outlook` is called when somebody first looks at one that shows anything."""

    def ready(_query: Query) -> Answer:
        reason = readiness()
        return text(reason or "ready", HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK)

    @cache
    def overview() -> Overview:
        from portwatch.agent.web.overview import Overview

        return Overview(outlook())

    return {
        "/healthz": lambda _query: text("alive"),
        "/readyz": ready,
        "/": lambda query: overview().landing(query),
        "/explain": lambda query: overview().explanation(query),
    }
