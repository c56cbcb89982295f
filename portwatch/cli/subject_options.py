"""Whose bind is asked about: `--unit`, `--cgroup`, `--pid`, `--user`, `--group`, `--network`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portwatch.errors import KernelError, UsageError

if TYPE_CHECKING:
    from portwatch.agent.account_words import AccountWords
    from portwatch.policy.workload import Subject

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SubjectOptions:
    """What the user gave; None where nothing."""

    unit: str | None
    cgroup: str | None
    pid: int | None
    user: str | None
    group: str | None
    network: str

    def text(self, subject: Subject) -> str:
        """The subject in a few words."""
        if self.pid is not None:
            return f"process {self.pid} in {subject.cgroup}"
        return f"{subject.user or subject.uid} in {subject.cgroup}"


def subject_options(command: Command) -> Command:
    """Gather the options into one SubjectOptions, passed as `subject`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        own = {field.name: given.pop(field.name) for field in fields(SubjectOptions)}
        return command(subject=SubjectOptions(**own), **given)

    options = (
        click.option("--unit", metavar="U", help="A systemd unit, such as `nginx.service`."),
        click.option("--cgroup", metavar="P", help="A cgroup path, such as `/system.slice/x`."),
        click.option("--pid", type=click.IntRange(min=1), metavar="N", help="A running process."),
        click.option("--user", metavar="NAME|UID", help="Who binds.  [default: root]"),
        click.option("--group", metavar="NAME|GID", help="The task's group.  [default: root]"),
        click.option(
            "--network",
            type=click.Choice(["host", "other"]),
            default="host",
            show_default=True,
            help="The host's network namespace, or another.",
        ),
    )
    for option in reversed(options):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]  # click's decorators lose the type


def find_subject(given: SubjectOptions, words: AccountWords) -> Subject:
    """The subject that the options describe, with the names by which a policy of these words may
    mean it; UsageError where they name nothing."""
    from portwatch.agent.named_subject import named_subject

    chosen = [name for name in ("unit", "cgroup", "pid") if getattr(given, name) is not None]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    if given.pid is not None:
        return _process(given.pid, words)
    accounts = words.naming(given.user, given.group).read()
    uid, gid = _number(given.user, accounts.users), _number(given.group, accounts.groups)
    cgroup = "/" if given.cgroup is None else given.cgroup
    if given.unit is not None:
        cgroup = _cgroup_of_unit(given.unit)
    if not cgroup.startswith("/"):
        raise UsageError(f"a cgroup path begins with `/`: {cgroup}")
    return named_subject(cgroup, uid, gid, accounts, given.network == "host")


def _number(text: str | None, table: dict[str, int]) -> int:
    from portwatch.policy.workload import MAX_ID

    if text is None:
        return 0
    if text in table:
        return table[text]
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    raise UsageError(f"there is no account `{text}` on this machine", hint="give its number")


def _cgroup_of_unit(unit: str) -> str:
    """Where the unit runs now, else where systemd would put a system unit."""
    from portwatch.cli.enforcement import cgroup_tree
    from portwatch.policy.workload import systemd_units

    try:
        paths = sorted(cgroup_tree().scan(), key=len)
    except KernelError:
        paths = []
    for path in paths:
        if unit in systemd_units(path)[0]:
            return path
    return f"/system.slice/{unit}"


def _process(pid: int, words: AccountWords) -> Subject:
    from portwatch.agent.named_subject import named_subject
    from portwatch.cli.enforcement import HOST
    from portwatch.node.cgroups import cgroup_of_process
    from portwatch.node.netns import in_host_network
    from portwatch.node.processes import real_ids

    cgroup, ids = cgroup_of_process(HOST, pid), real_ids(HOST, pid)
    if cgroup is None or ids is None:
        raise UsageError(f"there is no process {pid}")
    return named_subject(cgroup, *ids, words.read(), in_host_network(HOST, pid))
