"""Before a policy is enforced: which sockets that listen now would be refused next time."""

from __future__ import annotations

import os
from pathlib import Path

import click

from portwatch.agent.policy_source import LoadedPolicy
from portwatch.agent.survey_report import SurveyReport, SurveyRequest, begin_survey
from portwatch.errors import PortwatchError
from portwatch.kernel.pins import DEFAULT_PIN_DIR
from portwatch.policy.model import Policy

SHOWN = 20


def warn_of_lockouts(loaded: LoadedPolicy, pin_dir: Path, below: str) -> None:
    """Print them on stderr, with the command that detaches everything; only where any is denied.

    `below` is the cgroup that portwatch is attached to: others are not touched.
    """
    if not _denies(loaded.policy):
        return
    try:
        found = find_lockouts(loaded, below)
    except PortwatchError as err:
        click.echo(f"portwatch: warning: {err.message}", err=True)
        return
    for text in found.not_seen:
        click.echo(f"portwatch: warning: what listens in {text}", err=True)
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


def find_lockouts(loaded: LoadedPolicy, below: str) -> SurveyReport:
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
    )
    return begin_survey(request).wait()


def _denies(policy: Policy) -> bool:
    if any(constraint.mode == "enforce" for constraint in policy.constraints):
        return True
    return policy.mode == "enforce" and policy.default == "deny"
