"""`check`: is this policy right, and does it say what was meant?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, engines_option, json_option, pin_dir_option
from portwatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portwatch.policy.lint.finding import Finding
    from portwatch.policy.model import Policy


def _known_ids(_context: object, _option: object, given: tuple[str, ...]) -> tuple[str, ...]:
    """The ids of an option, `a,b` or one each time; UsageError for one that no lint has."""
    ids = tuple(id for text in given for id in text.split(","))
    if ids:
        from portwatch.agent.lint.lint import MACHINE_IDS
        from portwatch.policy.lint.lint import IDS
        from portwatch.policy.source.problems import nearest, quote

        known = (*IDS, *MACHINE_IDS)
        for id in ids:
            if id not in known:
                near = nearest(id, known)
                hint = f"did you mean {quote(near)}?" if near else f"one of {', '.join(known)}"
                raise UsageError(f"no lint has the id {quote(id)}", hint=hint)
    return ids


@click.command()
@click.argument("path", type=ANY_PATH)
@click.option("--strict", is_flag=True, help="Exit with 1 where there are findings.")
@click.option(
    "--offline",
    is_flag=True,
    help="Look at the policy alone, not at this machine: the same findings everywhere, as for CI.",
)
@click.option(
    "--select", multiple=True, metavar="ID", callback=_known_ids, help="Only these findings."
)
@click.option(
    "--ignore", multiple=True, metavar="ID", callback=_known_ids, help="All but these findings."
)
@click.option("--accepted", is_flag=True, help="Show the findings that constraints accept, too.")
@engines_option
@pin_dir_option
@json_option
def check(
    path: Path,
    strict: bool,
    offline: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    accepted: bool,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Check the policy at PATH, a file or a directory of *.yaml: every error with its place.

    Where there is none, tell what is probably not meant, with the reason and a remedy: constraints
    that decide nothing, ports that two workloads share, or that belong to infrastructure; and on
    this machine, sockets listening now that it would refuse, selectors that mean nobody here, ports
    that the kernel picks for clients.

    What a constraint names in `accept` is meant, and only counted.

    Needs no kernel, and root only to see what listens. Exit status 2 where the policy has errors.
    """
    from portwatch.agent.identity.account_words import accounts_of
    from portwatch.policy.lint.accepted import divide
    from portwatch.policy.lint.lint import lint
    from portwatch.policy.source.load import load_policy
    from portwatch.policy.tables.compile import compile_policy

    policy = load_policy(path)
    compiled = compile_policy(policy, accounts_of(policy))
    findings, notes = lint(policy), list[str]()
    if not offline:
        here, notes = _look_here(policy, engines, pin_dir)
        findings += here
    chosen, meant = divide(policy, _chosen(findings, select, ignore))
    if as_json:
        facts = {
            "ok": True,
            "sha256": policy.sha256,
            "mode": policy.mode,
            "constraints": len(policy.constraints),
            "endpoint_classes": compiled.endpoint_class_count,
            "findings": [asdict(finding) for finding in chosen],
            "accepted": [asdict(finding) for finding in meant],
            "notes": notes,
        }
        click.echo(json.dumps(facts))
    else:
        for note in notes:
            click.echo(f"portwatch: note: {note}", err=True)
        for finding in chosen:
            _print(finding)
        for finding in meant if accepted else ():
            _print_accepted(finding)
        click.echo(_summary(path, policy, len(chosen), len(meant)))
    if strict and chosen:
        raise click.exceptions.Exit(1)


def _look_here(
    policy: Policy, engines: tuple[str, ...], pin_dir: Path
) -> tuple[list[Finding], list[str]]:
    """What is found on this machine, and what could not be looked at."""
    from portwatch.agent.lint.lint import lint_here
    from portwatch.agent.lint.machine import look_around
    from portwatch.cli.enforcement import parse_engines
    from portwatch.cli.patience import patience

    sockets = parse_engines(engines)
    with patience("looking at this machine"):
        machine = look_around(policy, pin_dir, sockets)
        return lint_here(policy, machine), machine.not_seen


def _chosen(
    findings: Iterable[Finding], select: tuple[str, ...], ignore: tuple[str, ...]
) -> list[Finding]:
    """Those that were asked for, by place, but what locks out first, SSH's before the others'."""
    wanted = [one for one in findings if one.id not in ignore and (not select or one.id in select)]
    return sorted(wanted, key=lambda one: (-one.urgency, one))


def _print(finding: Finding) -> None:
    colour = "red" if finding.urgency else "yellow"
    id = click.style(f"[{finding.id}]", fg=colour, bold=True)
    reason = click.style(finding.reason, fg="red") if finding.urgency else finding.reason
    click.echo(f"{click.style(finding.place, bold=True)}: {id} {reason}")
    click.echo(f"    {finding.remedy}")


def _print_accepted(finding: Finding) -> None:
    place, id = click.style(finding.place, bold=True), click.style(f"[{finding.id}]", dim=True)
    click.echo(f"{place}: {id} accepted: {finding.reason}")


def _summary(path: Path, policy: Policy, findings: int, accepted: int) -> str:
    count = len(policy.constraints)
    text = f"{path}: ok, {count} constraint{'s' * (count != 1)}, mode {policy.mode}"
    told = [f"{findings} finding{'s' * (findings != 1)}"] if findings else []
    told += [f"{accepted} accepted"] if accepted else []
    return "; ".join([text, ", ".join(told)]) if told else text
