"""Whose bind is asked about: what runs here by `--unit`, `--container`, `--pod` or `--pid`, or
anybody by `--cgroup`, `--user`, `--group` and `--network`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portwatch.cli.options import engines_option
from portwatch.errors import KernelError, UsageError

if TYPE_CHECKING:
    from portwatch.agent.identity.account_words import AccountWords
    from portwatch.agent.running import RunningProcess
    from portwatch.node.cgroups import CgroupTree
    from portwatch.policy.workload import KnownContainer, Subject

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SubjectOptions:
    """What the user gave; None where nothing."""

    unit: str | None
    container: str | None
    pod: str | None
    cgroup: str | None
    pid: int | None
    user: str | None
    group: str | None
    network: str | None
    engines: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """The subject, in a few words, and what else there is to know about it."""

    subject: Subject
    text: str
    note: str | None = None


def subject_options(command: Command) -> Command:
    """Gather the options into one SubjectOptions, passed as `subject`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        own = {field.name: given.pop(field.name) for field in fields(SubjectOptions)}
        return command(subject=SubjectOptions(**own), **given)

    options = (
        click.option("--unit", metavar="U", help="A systemd unit, such as `nginx.service`."),
        click.option("--container", metavar="C", help="A running container, by name or id."),
        click.option("--pod", metavar="[NAMESPACE/]NAME", help="A pod that runs here."),
        click.option("--cgroup", metavar="P", help="A cgroup path, such as `/system.slice/x`."),
        click.option("--pid", type=click.IntRange(min=1), metavar="N", help="A running process."),
        click.option(
            "--user",
            metavar="NAME|UID",
            help="Who binds.  [default: as what runs there, else root]",
        ),
        click.option("--group", metavar="NAME|GID", help="The task's group.  [default: likewise]"),
        click.option(
            "--network",
            type=click.Choice(["host", "other"]),
            help="The host's network namespace, or another.  [default: as what runs there, else "
            "the host's]",
        ),
        engines_option,
    )
    for option in reversed(options):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]  # click's decorators lose the type


def find_subject(given: SubjectOptions, words: AccountWords) -> Asked:
    """The subject that the options describe, with the names by which a policy of these words may
    mean it; UsageError where they name nothing."""
    from portwatch.agent.identity.named_subject import named_subject

    ways = ("unit", "container", "pod", "cgroup", "pid")
    chosen = [name for name in ways if getattr(given, name) is not None]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    accounts = words.naming(given.user, given.group).read()
    place = _find_place(given)
    process = place.processes[0] if place.processes else None
    uid = _number(given.user, accounts.users, process.uid if process else 0)
    gid = _number(given.group, accounts.groups, process.gid if process else 0)
    is_host = process.in_host_network if process else True
    if given.network is not None:
        is_host = given.network == "host"
    subject = named_subject(place.cgroup, uid, gid, accounts, is_host, place.container)
    who = f"process {process.pid}" if process else (subject.user or str(uid))
    if process and given.pid is None:
        who = f"{subject.user or uid} (as process {process.pid})"
    return Asked(subject, f"{who} in {place.cgroup}", _note(given, place))


@dataclass(frozen=True)
class _Place:
    """A cgroup, what is known of its container, and the processes that stand for it."""

    cgroup: str
    container: KnownContainer | None = None
    processes: tuple[RunningProcess, ...] = ()
    is_running: bool = True


def _find_place(given: SubjectOptions) -> _Place:
    from portwatch.cli.enforcement import cgroup_tree

    if given.cgroup is not None and not given.cgroup.startswith("/"):
        raise UsageError(f"a cgroup path begins with `/`: {given.cgroup}")
    try:
        tree = cgroup_tree()
    except KernelError:  # a policy can be asked about anywhere
        return _Place(_usual_cgroup(given), is_running=False)
    if given.pid is not None:
        process = _process(given.pid)
        return _Place(process.cgroup, _container(tree, process.cgroup, given), (process,))
    if given.unit is None and given.container is None and given.pod is None:
        cgroup = _usual_cgroup(given)
        return _Place(cgroup, _container(tree, cgroup, given))
    return _running(tree, given)


def _running(tree: CgroupTree, given: SubjectOptions) -> _Place:
    """Where a unit or a container runs now, if it does so in one place."""
    from portwatch.agent.identity.container_asking import ask_now
    from portwatch.agent.kubernetes.pod_file import pods_of_agents
    from portwatch.agent.running import (
        cgroups_of_container,
        cgroups_of_pod,
        cgroups_of_unit,
        processes_in,
    )
    from portwatch.cli.enforcement import HOST, parse_engines

    paths = list(tree.scan())
    if given.unit is not None:
        found = cgroups_of_unit(paths, given.unit)
    elif given.pod is not None:
        found = cgroups_of_pod(paths, given.pod, pods_of_agents(HOST))
    else:
        book = ask_now(tree, HOST, paths, parse_engines(given.engines))
        found = cgroups_of_container(paths, given.container or "", book)
    if not found and given.container is not None:
        raise UsageError(
            f"no container `{given.container}` runs here",
            hint="give its id, 12 digits or more, where its engine cannot be asked",
        )
    if not found and given.pod is not None:
        raise UsageError(
            f"no pod `{given.pod}` is known here",
            hint="give its uid, or have an agent ask the API server: docs/pods.md",
        )
    if not found:
        return _Place(_usual_cgroup(given), is_running=False)
    if len(found) > 1:
        where = "".join(f"\n  --cgroup {path}" for path in found)
        raise UsageError(f"that runs {len(found)} times; name one of them:{where}")
    processes = tuple(processes_in(tree, HOST, found[0]))
    return _Place(found[0], _container(tree, found[0], given), processes)


def _usual_cgroup(given: SubjectOptions) -> str:
    """Where systemd puts a system unit."""
    return f"/system.slice/{given.unit}" if given.unit else given.cgroup or "/"


def _container(tree: CgroupTree, cgroup: str, given: SubjectOptions) -> KnownContainer | None:
    from portwatch.agent.identity.container_asking import ask_now
    from portwatch.cli.enforcement import HOST, parse_engines

    return ask_now(tree, HOST, [cgroup], parse_engines(given.engines)).known(cgroup)


def _process(pid: int) -> RunningProcess:
    from portwatch.agent.running import running_process
    from portwatch.cli.enforcement import HOST

    process = running_process(HOST, pid)
    if process is None:
        raise UsageError(f"there is no process {pid}")
    return process


def _note(given: SubjectOptions, place: _Place) -> str | None:
    """What the answer does not hold for."""
    if given.unit is not None and not place.is_running:
        return f"{given.unit} does not run here: taken as root's, in {place.cgroup}"
    uids = sorted({process.uid for process in place.processes})
    if given.user is None and len(uids) > 1:
        others = ", ".join(map(str, uids))
        return f"its processes run as uid {others}: this is for the first; --user names another"
    return None


def _number(text: str | None, table: dict[str, int], default: int) -> int:
    from portwatch.policy.workload import MAX_ID

    if text is None:
        return default
    if text in table:
        return table[text]
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    raise UsageError(f"there is no account `{text}` on this machine", hint="give its number")
