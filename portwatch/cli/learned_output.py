"""What was learned, printed: as a policy, or as what it adds to one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from portwatch.cli.patience import patience
from portwatch.cli.whole_file import replace_file
from portwatch.errors import PolicyError, UsageError
from portwatch.policy.learn.acceptance import accepting
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.constraints import LearnedConstraint, learn
from portwatch.policy.learn.merge import extend
from portwatch.policy.learn.text import policy_text, port_word
from portwatch.policy.lint.local_ports import LocalPorts
from portwatch.policy.source.load import parse_policy, policy_sources
from portwatch.policy.tables.compile import Accounts, compile_policy


def print_policy(
    binds: Sequence[SeenBind], accounts: Accounts, slack: int, local: LocalPorts, as_json: bool
) -> None:
    """A whole policy on stdout."""
    try:
        with patience("writing the policy"):
            learned = accepting(learn(binds, slack), local)
            text = policy_text(learned, slack)
            compile_policy(parse_policy([("learned.yaml", text)]), accounts)
    except PolicyError as err:
        raise UsageError(
            f"what was seen does not fit one policy: {err.problems[0].message}",
            hint="--workload GLOB learns of some workloads only, --slack N makes fewer ranges",
        ) from err
    if as_json:
        facts = {"policy": text, "slack_added": learned.unseen, **_facts(learned.constraints)}
        click.echo(json.dumps(facts))
    else:
        click.echo(text, nl=False)
    if learned.left_out:
        click.echo(
            f"portwatch: left out: {learned.left_out:,} kinds of bind by workloads that no "
            "selector can name",
            err=True,
        )


def print_merged(
    path: Path,
    binds: Sequence[SeenBind],
    accounts: Accounts,
    slack: int,
    local: LocalPorts,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The file extended in place, or the difference that would make; what was added, on stderr."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory", hint="name the file of it to extend")
    raw = policy_sources(path)[0][1]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
        parse_policy([(str(path), raw)])  # says where
    extended = extend(str(path), text, binds, accounts, slack, local)
    compile_policy(parse_policy([(str(path), extended.text)], source=str(path)), accounts)
    if dry_run and not as_json:
        click.echo("".join(_difference(text, extended.text, str(path))), nl=False)
    elif extended.text != text and not dry_run:
        replace_file(path, extended.text.encode())
    if as_json:
        refused = sorted({_bind_text(bind) for bind in extended.refused})
        facts = {"policy": extended.text, "still_refused": refused, **_facts(extended.added)}
        click.echo(json.dumps(facts))
        return
    count = len(extended.added)
    verb = "would get" if dry_run else "has got"
    added = f"{verb} {count} new constraint{'s' * (count != 1)}" if count else "lacks nothing"
    click.echo(f"portwatch: {path} {added}", err=True)
    for text in sorted({_bind_text(bind) for bind in extended.refused}):
        click.echo(f"portwatch: still refused, as the policy says: {text}", err=True)


def _difference(before: str, after: str, name: str) -> Iterable[str]:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, name
    )
    return (line if line.endswith("\n") else line + "\n" for line in lines)


def _bind_text(bind: SeenBind) -> str:
    port = f"{bind.port}/{bind.protocol}" if bind.port else f"ephemeral/{bind.protocol}"
    where = "::, 0.0.0.0" if bind.address.dual else str(bind.address)
    return f"{port} on {where} by {bind.cgroup}"


def _facts(constraints: Iterable[LearnedConstraint]) -> dict[str, object]:
    return {
        "constraints": [
            {
                "name": one.name,
                "for": one.workload.selector,
                "addresses": one.scopes,
                "allow": [
                    {
                        "ports": port_word(entry),
                        "binds": entry.use.times,
                        "listening": entry.use.listening,
                        "programs": sorted(entry.use.programs),
                        "users": sorted(entry.use.users),
                        "first": entry.use.first,
                        "last": entry.use.last,
                        "not_seen": entry.ports.unseen,
                    }
                    for entry in one.entries
                ],
                "accept": {accepted.id: accepted.about for accepted in one.accepts},
            }
            for one in constraints
        ]
    }
