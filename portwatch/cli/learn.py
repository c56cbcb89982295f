"""`learn`: the tightest policy that fits the binds seen so far."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, engines_option, json_option, pin_dir_option
from portwatch.cli.since import iso_seconds, since_option

if TYPE_CHECKING:
    from portwatch.node.accounts import AccountTable
    from portwatch.policy.learn.bind import SeenBind


@click.command()
@since_option
@click.option(
    "--events",
    multiple=True,
    type=click.Path(readable=False),
    metavar="PATH",
    help="Learn from this event log of `run --log-binds`, not from this machine; `-` for stdin; "
    "again for more.",
)
@click.option("--live", is_flag=True, help="With --events, from this machine too.")
@click.option(
    "--merge",
    type=ANY_PATH,
    metavar="PATH",
    help="Extend this policy file in place by what it lacks; all else in it stays as it is.",
)
@click.option("--dry-run", is_flag=True, help="With --merge, print what would change as a diff.")
@click.option(
    "--slack",
    type=click.IntRange(1, 1024),
    default=2,
    show_default=True,
    help="Make one range of ports that are at most that far apart; 1 adds no port.",
)
@click.option("--workload", metavar="GLOB", help="Only units, containers or cgroups of that name.")
@engines_option
@pin_dir_option
@json_option
def learn(
    since: float | None,
    events: tuple[str, ...],
    live: bool,
    merge: Path | None,
    dry_run: bool,
    slack: int,
    workload: str | None,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Print the tightest policy that allows the binds seen so far, ready to edit.

    From the binds that the kernel remembers (portwatch has to be loaded) and from what listens now,
    or from event logs. What was denied is not learned. Each workload may have what it was seen to
    bind, and nothing else; the policy records until its `mode` says `enforce`. What `check` would
    find though it was seen to be so, such as a port that two share, is in `accept`. Exit status 1
    where nothing was seen.
    """
    from portwatch.agent.lint.machine import local_ports_here
    from portwatch.cli.enforcement import HOST
    from portwatch.cli.learned_output import print_merged, print_policy
    from portwatch.errors import UsageError
    from portwatch.node.accounts import read_accounts

    if dry_run and merge is None:
        raise UsageError("--dry-run is about --merge")
    accounts = read_accounts()
    binds = _logged(events, since, accounts) if events else []
    if live or not events:
        binds += _live(pin_dir, engines, since, accounts)
    if workload is not None:
        binds = [bind for bind in binds if _is_wanted(bind, workload)]
    if not binds:
        click.echo("{}" if as_json else "portwatch: no binds were seen", err=not as_json)
        raise click.exceptions.Exit(1)
    local = local_ports_here(HOST)
    if merge is None:
        print_policy(binds, accounts, slack, local, as_json)
    else:
        print_merged(merge, binds, accounts, slack, local, dry_run, as_json)


def _logged(events: tuple[str, ...], since: float | None, accounts: AccountTable) -> list[SeenBind]:
    from portwatch.agent.events.bind_log import BindLog, stored_bytes
    from portwatch.agent.identity.containers import ContainerBook
    from portwatch.agent.seen_binds import SeenBinds
    from portwatch.cli.reading_bar import reading_bar
    from portwatch.cli.replay import tell_bad_lines
    from portwatch.policy.words.account_names import AccountNames

    seen = SeenBinds(AccountNames(accounts), ContainerBook())
    with reading_bar("reading", stored_bytes(events)) as advance:
        log = BindLog(events, iso_seconds(since), advance)
        binds = list(seen.logged(log.binds()))
    tell_bad_lines(log)
    _tell_left_out(seen.left_out)
    return binds


def _live(
    pin_dir: Path, engines: tuple[str, ...], since: float | None, accounts: AccountTable
) -> list[SeenBind]:
    from portwatch.agent.lint.machine_binds import MachineBinds
    from portwatch.cli.enforcement import HOST, cgroup_tree, parse_engines, require_root
    from portwatch.cli.patience import patience
    from portwatch.kernel.pins import PinDir

    require_root()
    sockets = parse_engines(engines)
    machine = MachineBinds(PinDir(pin_dir), cgroup_tree(), HOST, accounts, sockets)
    with patience("looking at this machine"):
        binds = machine.find(since)
    for note in machine.notes:
        click.echo(f"portwatch: warning: {note}", err=True)
    _tell_left_out(machine.left_out)
    return binds


def _tell_left_out(left_out: dict[str, int]) -> None:
    for why, count in left_out.items():
        click.echo(f"portwatch: left out: {count:,} kinds of bind {why}", err=True)


def _is_wanted(bind: SeenBind, glob: str) -> bool:
    from portwatch.policy.learn.workload import workload_of

    found = workload_of(bind.cgroup, bind.container, bind.uid, bind.user)
    return found is not None and fnmatchcase(found.name, glob)
