"""When surveys are made, and what becomes of them, with a child that is none."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from typing import Any

import pytest

from portwatch.agent.survey.report import (
    PublishedSeries,
    PublishedSpan,
    Series,
    ShadowedSeries,
    SurveyReport,
    SurveyRequest,
)
from portwatch.agent.survey.runs import (
    PERIOD_SECONDS,
    REST_SECONDS,
    RETRY_SECONDS,
    SOON_SECONDS,
    SurveyRuns,
)
from portwatch.errors import PortwatchError

SERIES: Series = ("shop", "tcp", "80", "loopback", "allowed")


class Child:
    """An errand that is done when it is told to be."""

    def __init__(self, request: SurveyRequest) -> None:
        self.request = request
        self.closed = False
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK)
        self._answer: SurveyReport | PortwatchError | None = None

    def fileno(self) -> int:
        """For select()."""
        return self._read_end

    def end(self, answer: SurveyReport | PortwatchError) -> None:
        """What it will answer."""
        self._answer = answer
        os.write(self._write_end, b"x")

    def read(self) -> bool:
        """Whether it has ended."""
        return self._answer is not None

    def overdue(self) -> bool:
        """Never."""
        return False

    def result(self) -> SurveyReport:
        """What it was told to answer."""
        self.close()
        if isinstance(self._answer, SurveyReport):
            return self._answer
        assert self._answer
        raise self._answer

    def close(self) -> None:
        """Give it back."""
        self.closed = True
        os.close(self._read_end)
        os.close(self._write_end)


class Desk:
    """The runs, with everything around them."""

    def __init__(self) -> None:
        self.listeners: list[tuple[Series, int]] = []
        self.listeners_surveyed_seconds = 0.0
        self.selector = selectors.DefaultSelector()
        self.children: list[Child] = []
        self.events: list[dict[str, Any]] = []
        self.shared: list[dict[str, Any]] = []
        self.listeners_folded = 0
        self.signs = object
        self.published: list[tuple[PublishedSeries, int]] = []
        self.published_spans: list[PublishedSpan] = []
        self.shadowed: list[tuple[ShadowedSeries, int]] = []
        self.published_unread = False
        self.kept: list[list[PublishedSpan]] = []
        tell = self.events.append, self.shared.extend
        self.rewrites_expected = 0
        hands = *tell, self._expect_rewrites, dict, self.begin, self._see
        self.runs = SurveyRuns("/pins", 9, self.selector, self, *hands, keep=self.kept.append)

    def _expect_rewrites(self) -> None:
        self.rewrites_expected += 1

    def _see(self) -> object:
        """What tells of changes; every time something else, but where a test says so."""
        return self.signs()

    def begin(self, request: SurveyRequest) -> Any:
        """As begin_survey() does."""
        self.children.append(Child(request))
        return self.children[-1]

    def serve(self) -> None:
        """What the agent's loop does."""
        for key, _ in self.selector.select(0):
            key.data()


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Ends the child that is left."""
    desk = Desk()
    yield desk
    desk.runs.close()
    desk.selector.close()
    assert all(child.closed for child in desk.children)


def reported(policy: str = "p", **more: Any) -> SurveyReport:
    """What a child answers."""
    given: dict[str, Any] = {
        "policy": policy, "series": [(SERIES, 2)], "violating": {}, "told": [], "events": [],
        "untold": 0,
    }  # fmt: skip
    return SurveyReport(**(given | more))


def test_it_is_told_where_another_may_rewrite_ports(desk: Desk) -> None:
    """And only where the survey says so."""
    for rewriters in (False, True):
        desk.runs.want()
        desk.runs.tick(1.0)
        desk.children[-1].end(reported(rewriters=rewriters))
        desk.serve()
        assert desk.rewrites_expected == rewriters


def test_nothing_is_surveyed_before_it_is_wanted(desk: Desk) -> None:
    """Without a policy there is nothing to judge by."""
    desk.runs.tick(1e9)
    assert desk.children == []


def test_one_child_at_a_time_and_none_is_forgotten(desk: Desk) -> None:
    """A survey that is wanted while one is under way comes after it."""
    desk.runs.want()
    desk.runs.tick(1.0)
    desk.runs.want()
    desk.runs.tick(2.0)
    assert len(desk.children) == 1
    desk.children[0].end(reported())
    desk.serve()
    desk.runs.tick(3.0)
    assert len(desk.children) == 2
    assert desk.listeners == [(SERIES, 2)]
    assert desk.listeners_surveyed_seconds > 0


def test_it_is_made_again_every_minute(desk: Desk) -> None:
    """Listeners come and go by ways that no hook sees."""
    desk.runs.want()
    desk.runs.tick(100.0)
    desk.children[0].end(reported())
    desk.serve()
    desk.runs.tick(100.0 + PERIOD_SECONDS - 1)
    assert len(desk.children) == 1
    desk.runs.tick(100.0 + PERIOD_SECONDS)
    assert len(desk.children) == 2


def test_it_is_left_out_while_nothing_changes(desk: Desk) -> None:
    """A child costs a hundred times what looking for signs costs; what was found holds meanwhile,
    and after ten minutes, or with the first sign, it is made again."""
    desk.signs = lambda: "as ever"
    desk.runs.want()
    desk.runs.tick(100.0)
    desk.children[0].end(reported(sharing=[{"kind": "collision"}]))
    desk.serve()
    desk.listeners_surveyed_seconds = 0.0
    for minute in range(1, int(REST_SECONDS / PERIOD_SECONDS)):
        desk.runs.tick(100.0 + minute * PERIOD_SECONDS)
    assert len(desk.children) == 1
    assert desk.listeners_surveyed_seconds > 0
    assert len(desk.shared) == REST_SECONDS / PERIOD_SECONDS, "what is shared is renewed"
    desk.runs.tick(100.0 + REST_SECONDS)
    desk.children[1].end(reported())
    desk.serve()
    assert len(desk.children) == 2
    desk.signs = lambda: "something else"
    desk.runs.tick(100.0 + REST_SECONDS + PERIOD_SECONDS)
    assert len(desk.children) == 3


def test_what_was_told_is_said_to_the_next_child(desk: Desk) -> None:
    """So that it is not told again; and what did not fit is asked for at once."""
    desk.runs.want()
    desk.runs.tick(1.0)
    desk.children[0].end(reported(events=[(11, {"kind": "listener"})], untold=1))
    desk.serve()
    assert desk.events == [{"kind": "listener"}]
    desk.runs.tick(1.1)
    assert desk.children[1].request.told == (11,)
    assert desk.children[1].request.told_under == "p"
    assert desk.children[1].request.max_series == 9


def test_a_failure_is_logged_once_and_not_fatal(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The last counts stay, the next survey is made, and the log is not flooded."""
    for number in range(3):
        desk.runs.want()
        desk.runs.tick(float(number))
        desk.children[number].end(PortwatchError("no answer"))
        desk.serve()
    assert caplog.messages == ["no answer"]
    desk.runs.want()
    desk.runs.tick(9.0)
    desk.children[3].end(reported(not_seen=["net:[5]: gone"]))
    desk.serve()
    assert caplog.messages[1:] == ["listeners not seen: net:[5]: gone"]


def test_a_survey_that_failed_is_tried_again_soon(desk: Desk) -> None:
    """Not only a minute later: what is not looked at is not known."""
    start = time.monotonic()
    desk.runs.want()
    desk.runs.tick(start)
    desk.children[0].end(PortwatchError("no answer"))
    desk.serve()
    desk.runs.tick(start + 1)
    assert len(desk.children) == 1
    desk.runs.tick(start + RETRY_SECONDS + 1)
    assert len(desk.children) == 2


def test_a_bind_in_vain_is_looked_into_soon(desk: Desk) -> None:
    """Not at the next minute; but whoever binds in a loop makes no survey follow the other."""
    desk.runs.want()
    desk.runs.tick(1000)
    desk.children[-1].end(reported())
    desk.serve()
    for second in range(1, 10):
        desk.runs.want_soon(1000 + second)
        desk.runs.tick(1000 + second)
    assert len(desk.children) == 1
    desk.runs.tick(1000 + SOON_SECONDS)
    assert len(desk.children) == 2
    desk.children[-1].end(reported())
    desk.serve()
    desk.runs.tick(1000 + SOON_SECONDS + 1)
    assert len(desk.children) == 2


def test_what_is_published_is_handed_on(desk: Desk) -> None:
    """To the metrics, and to the kernel; and where it may not be read, that."""
    span: PublishedSpan = (5, "tcp", 4, "", 80, 81, "docker")
    desk.runs.want()
    desk.runs.tick(1)
    published = [(("docker", "tcp"), 2)]
    desk.children[-1].end(reported(published=published, spans=[span], unread=["host: no"]))
    desk.serve()
    assert (desk.published, desk.kept, desk.published_unread) == (published, [[span]], True)
    assert desk.published_spans == [span]
