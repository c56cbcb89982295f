"""Before a policy is enforced: which sockets that listen now would be refused next time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from portwatch.errors import PortwatchError, UsageError
from portwatch.kernel.pins import DEFAULT_PIN_DIR
from portwatch.node.listeners import Listener, find_listeners
from portwatch.policy.decide import Decision, decide
from portwatch.policy.model import Policy

SHOWN = 20


def warn_of_lockouts(policy: Policy, pin_dir: Path, below: str) -> None:
    """Print them on stderr, with the command that detaches everything; only where any is denied.

    `below` is the cgroup that portwatch is attached to: others are not touched.
    """
    if not any(c.mode == "enforce" for c in policy.constraints) and (
        policy.mode != "enforce" or policy.default != "deny"
    ):
        return
    try:
        refused = list(find_lockouts(policy, below))
    except PortwatchError as err:
        click.echo(f"portwatch: warning: {err.message}", err=True)
        return
    if not refused:
        return
    count = len(refused)
    click.echo(
        f"portwatch: warning: {count} socket{'s' * (count != 1)} listening now would be refused "
        "at the next bind:",
        err=True,
    )
    for listener, decision in refused[:SHOWN]:
        owner = f"{listener.comm}[{listener.pid}]" if listener.pid else "an unknown process"
        click.echo(
            f"  {listener.protocol} {listener.address}:{listener.port} of {owner}: "
            f"{decision.constraint} ({decision.errno})",
            err=True,
        )
    if count > SHOWN:
        click.echo(f"  … and {count - SHOWN} more", err=True)
    pins = "" if pin_dir == DEFAULT_PIN_DIR else f" --pin-dir {pin_dir}"
    click.echo(f"  locked out? `portwatch unload{pins}` detaches everything", err=True)


def find_lockouts(policy: Policy, below: str) -> Iterator[tuple[Listener, Decision]]:
    """Each listener whose like would be denied now, as its process and address are now."""
    from portwatch.cli.endpoint_text import parse_endpoint
    from portwatch.cli.subject_options import SubjectOptions, find_subject

    for listener in find_listeners():
        if listener.pid is None:
            continue
        try:
            who = find_subject(SubjectOptions(None, None, listener.pid, None, None, "host"))
        except UsageError:
            continue  # it ended meanwhile: nothing to lock out
        if not f"{who.cgroup}/".startswith(f"{below.rstrip('/')}/"):
            continue
        endpoint = parse_endpoint(
            f"{listener.port}/{listener.protocol}", listener.address.partition("%")[0], False
        )
        decision = decide(policy, who, endpoint)
        if decision.verdict == "denied":
            yield listener, decision
