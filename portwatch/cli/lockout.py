"""When a policy comes to be enforced: which sockets that listen now would be refused next time."""

from __future__ import annotations

import os
import selectors
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from portwatch.agent.errand_run import ErrandRun
from portwatch.agent.policy_source import LoadedPolicy
from portwatch.agent.survey.report import SurveyReport, SurveyRequest, begin_survey
from portwatch.cli.patience import patience
from portwatch.errors import PortwatchError
from portwatch.kernel.pins import DEFAULT_PIN_DIR
from portwatch.node.errand import Errand
from portwatch.policy.model import Policy

SHOWN = 20


class LockoutCheck:
    """Begun as soon as the policy is known, since it takes a while; nothing need wait for it: what
    listens is touched at its next bind only.

    Prints them on stderr, with the command that detaches everything; only where any is denied.
    `below` is the cgroup that portwatch is attached to: others are not touched. `engines` as the
    option has them.
    """

    def __init__(
        self, loaded: LoadedPolicy, pin_dir: Path, below: str, engines: Sequence[str]
    ) -> None:
        self._pin_dir = pin_dir
        self._survey: Errand[SurveyReport] | None = None
        self._run: ErrandRun[SurveyReport] | None = None
        if not _denies(loaded.policy):
            return
        try:
            self._survey = _begin(loaded, below, engines)
        except PortwatchError as err:
            _warn(err.message)

    def join(self, selector: selectors.BaseSelector) -> None:
        """Print from a loop, when it is done."""
        survey = self._survey
        if survey is not None:
            self._run = ErrandRun(selector, self._print, _warn)
            self._run.start(lambda: survey)

    def tick(self) -> None:
        """Now and then, in that loop."""
        if self._run is not None:
            self._run.tick()

    def wait(self) -> None:
        """Print now, once it is done."""
        if self._survey is None:
            return
        try:
            with patience("looking at what listens"):
                found = self._survey.wait()
            self._print(found)
        except PortwatchError as err:
            _warn(err.message)

    def close(self) -> None:
        """End the child, if it is not needed any more."""
        if self._run is not None:
            self._run.close()
        elif self._survey is not None:
            self._survey.close()

    def _print(self, found: SurveyReport) -> None:
        _print(found, self._pin_dir)


def warn_of_lockouts(
    loaded: LoadedPolicy, pin_dir: Path, below: str, engines: Sequence[str]
) -> None:
    """The whole check at once."""
    with closing(LockoutCheck(loaded, pin_dir, below, engines)) as check:
        check.wait()


def _warn(reason: str) -> None:
    click.echo(f"portwatch: warning: {reason}", err=True)


def _print(found: SurveyReport, pin_dir: Path) -> None:
    for text in found.not_seen:
        _warn(f"what listens in {text}")
    count = found.violating.get("denied", 0)
    if not count:
        return
    click.echo(
        f"portwatch: warning: {count} socket{'s' * (count != 1)} listening now would be refused "
        "at the next bind:",
        err=True,
    )
    for _, event in found.events[: min(count, SHOWN)]:
        bind, process = event["bind"], event.get("process")
        owner = f"{process['comm']}[{process['pid']}]" if process else "an unknown process"
        click.echo(
            f"  {bind['protocol']} {bind['address']}:{bind['port']} of {owner}: "
            f"{event['constraint']} ({event['errno']})",
            err=True,
        )
    if count > SHOWN:
        click.echo(f"  … and {count - SHOWN} more", err=True)
    pins = "" if pin_dir == DEFAULT_PIN_DIR else f" --pin-dir {pin_dir}"
    click.echo(f"  locked out? `portwatch unload{pins}` detaches everything", err=True)


def _begin(loaded: LoadedPolicy, below: str, engines: Sequence[str]) -> Errand[SurveyReport]:
    """The survey under a policy that is not in force yet, what is denied first among its events."""
    texts = [
        (name, text if isinstance(text, str) else os.fsdecode(text))
        for name, text in loaded.sources
    ]
    request = SurveyRequest(
        sources=tuple(texts),
        origin=loaded.origin,
        mode=loaded.mode,
        below=below,
        max_series=0,
        max_events=SHOWN,
        sockets=tuple(engines),
    )
    return begin_survey(request)


def _denies(policy: Policy) -> bool:
    if any(constraint.mode == "enforce" for constraint in policy.constraints):
        return True
    return policy.mode == "enforce" and policy.default == "deny"
