"""When the agent surveys what listens: at start, on every policy change, and once a minute.

One child at a time, never waited for; what it hands back goes to the metrics and, once for each
socket and policy, to an event.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from typing import Any, Protocol

from portwatch.agent.errand_run import ErrandRun
from portwatch.agent.survey.report import (
    PublishedSeries,
    PublishedSpan,
    Series,
    ShadowedSeries,
    SurveyReport,
    SurveyRequest,
    begin_survey,
)
from portwatch.node.errand import Errand

log = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0
REST_SECONDS = 600.0  # while nothing tells of a change
RETRY_SECONDS = 5.0
SOON_SECONDS = 15.0
MAX_TOLD = 1024  # sockets that violate one policy at a time; more are only counted
EVENTS_AT_ONCE = 200
MAX_WARNINGS = 64

Begin = Callable[[SurveyRequest], Errand[SurveyReport]]


class Listeners(Protocol):
    """Where the last survey's counts are kept: AgentState, or a test's."""

    listeners: list[tuple[Series, int]]
    listeners_folded: int
    listeners_surveyed_seconds: float
    published: list[tuple[PublishedSeries, int]]
    published_spans: list[PublishedSpan]
    shadowed: list[tuple[ShadowedSeries, int]]
    published_unread: bool


class SurveyRuns:
    """Call `tick()` now and then, and `want()` when the policy has changed."""

    def __init__(
        self,
        pin_dir: str,
        max_series: int,
        selector: selectors.BaseSelector,
        state: Listeners,
        tell: Callable[[dict[str, Any]], None],
        tell_sharing: Callable[[list[dict[str, Any]]], None],
        expect_rewrites: Callable[[], None],
        containers: Callable[[], dict[str, Any]],
        begin: Begin = begin_survey,
        signs: Callable[[], object] = object,
        keep: Callable[[list[PublishedSpan]], None] = lambda _: None,
    ) -> None:
        """`signs`: what differs from one call to the next where sockets may have come or gone.
        `keep` gets the ports that are taken with no socket."""
        self._pin_dir = pin_dir
        self._max_series = max_series
        self._state = state
        self._tell = tell
        self._tell_sharing = tell_sharing
        self._expect_rewrites = expect_rewrites
        self._containers = containers
        self._begin = begin
        self._signs = signs
        self._keep = keep
        self._soon = 0.0
        self._seen: object = None
        self._rest_over = 0.0
        self._sharing: list[dict[str, Any]] = []
        self._run = ErrandRun(selector, self._take, self._fail)
        self._due = float("inf")  # nothing is judged before there is a policy
        self._told_under = ""
        self._told: list[int] = []
        self._warned: set[str] = set()

    def want(self) -> None:
        """Survey at the next tick; after the one that is under way, if there is one."""
        self._due = self._rest_over = 0.0

    def want_soon(self, now: float) -> None:
        """Survey at the next tick, but not within SOON_SECONDS of another: somebody may bind in a
        loop."""
        self._due, self._rest_over = min(self._due, max(now, self._soon)), 0.0

    def tick(self, now: float) -> None:
        """Start what is due, end what takes too long; `now` is monotonic, in seconds."""
        self._run.tick()
        if not self._run.is_running and now >= self._due:
            self._due, self._soon = now + PERIOD_SECONDS, now + SOON_SECONDS
            seen, self._seen = self._seen, self._signs()
            if seen != self._seen or now >= self._rest_over:
                self._rest_over = now + REST_SECONDS
                self._run.start(lambda: self._begin(self._request()))
            else:
                self._state.listeners_surveyed_seconds = time.time()
                self._tell_sharing(self._sharing)  # as it was, and no news

    def close(self) -> None:
        """End the child, if there is one."""
        self._run.close()

    def _request(self) -> SurveyRequest:
        room = max(MAX_TOLD - len(self._told), 0)
        return SurveyRequest(
            pin_dir=self._pin_dir,
            told_under=self._told_under,
            told=tuple(self._told),
            max_series=self._max_series,
            max_events=min(EVENTS_AT_ONCE, room),
            containers=self._containers(),
        )

    def _fail(self, reason: str) -> None:
        self._warn(reason)
        self._due = min(self._due, time.monotonic() + RETRY_SECONDS)
        self._rest_over = 0.0

    def _take(self, report: SurveyReport) -> None:
        self._state.listeners = report.series
        self._state.listeners_folded = report.folded
        self._state.listeners_surveyed_seconds = time.time()
        self._keep(report.spans)
        self._state.published = report.published
        self._state.published_spans = report.spans
        self._state.shadowed = report.shadowed
        self._state.published_unread = bool(report.unread)
        self._told_under = report.policy
        self._told = report.told + [known for known, _ in report.events]
        for _, event in report.events:
            self._tell(event)
        self._sharing = report.sharing
        self._tell_sharing(report.sharing)
        if report.rewriters:
            self._expect_rewrites()
        if report.untold and report.events:
            self.want()
        elif report.untold:
            self._warn(f"more than {MAX_TOLD} listeners violate the policy: the rest is counted")
        for text in report.not_seen:
            self._warn(f"listeners not seen: {text}")
        for text in report.unread:
            self._warn(f"ports that are taken with no socket are not seen: {text}")

    def _warn(self, text: str) -> None:
        """Once for each kind of failure."""
        if text not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(text)
            log.warning("%s", text)
