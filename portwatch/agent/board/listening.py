"""Listeners against the policy as rows: a child looks for them now and then."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portwatch.agent.board.row import Row
from portwatch.agent.errand_run import ErrandRun
from portwatch.agent.survey.report import SurveyReport, SurveyRequest, begin_survey
from portwatch.node.engines.sockets import EngineSocket
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.scopes import scope_of

PERIOD_SECONDS = 60.0
MAX_LISTENERS = 1000


class Listening:
    """Call `tick()` now and then; the child is read by whoever runs the selector."""

    def __init__(
        self, pin_dir: Path, selector: selectors.BaseSelector, engines: Sequence[EngineSocket]
    ) -> None:
        self.rows: list[Row] = []
        self.trouble = ""
        self.is_known = False
        self._pin_dir = pin_dir
        self._engines = tuple(map(str, engines))
        self._run = ErrandRun(selector, self._take, self._fail)
        self._due = 0.0

    def want(self) -> None:
        """Look again at the next tick."""
        self._due = 0.0

    def tick(self) -> None:
        """Start what is due, end what takes too long."""
        self._run.tick()
        now = time.monotonic()
        if not self._run.is_running and now >= self._due:
            self._due = now + PERIOD_SECONDS
            request = SurveyRequest(
                pin_dir=str(self._pin_dir),
                max_series=0,
                max_events=MAX_LISTENERS,
                sockets=self._engines,
            )
            self._run.start(lambda: begin_survey(request))

    def close(self) -> None:
        """End the child, if there is one."""
        self._run.close()

    def _take(self, report: SurveyReport) -> None:
        self.is_known, self.trouble = True, ""
        self.rows = [_row(event) for _, event in report.events]

    def _fail(self, reason: str) -> None:
        self.is_known, self.trouble = True, reason


def _row(event: dict[str, Any]) -> Row:
    bind, process = event["bind"], event.get("process", {})
    return Row(
        kind="listener",
        verdict=event["verdict"],
        workload=event["workload"]["name"],
        protocol=bind["protocol"],
        port=bind["port"],
        count=1,
        scope=scope_of(Address.parse(bind["address"])),
        address=bind["address"],
        constraint=event.get("constraint", ""),
        reason=event.get("reason", ""),
        last_seen=time.time(),
        cgroup=event["workload"].get("cgroup", ""),
        pid=process.get("pid", 0),
        uid=process.get("uid"),
        process=_name(process),
    )


def _name(process: dict[str, Any]) -> str:
    return f"{process['comm']}[{process['pid']}]" if "comm" in process else ""
