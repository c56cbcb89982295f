"""`diff`: what changes between two policies, by meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, json_option, pin_dir_option
from portwatch.errors import NotLoaded, UsageError

if TYPE_CHECKING:
    from portwatch.policy.difference.compare import Comparison
    from portwatch.policy.model import Policy


@click.command()
@click.argument("paths", nargs=-1, required=True, type=ANY_PATH, metavar="[OLD] NEW")
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Print every change: listeners on ports that the kernel picked, and where only the "
    "constraint or the errno is another.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Look for every change, however long it takes; else the search ends after some seconds, "
    "and says so where it did.",
)
@pin_dir_option
@json_option
def diff(
    paths: tuple[Path, ...], show_all: bool, thorough: bool, pin_dir: Path, as_json: bool
) -> None:
    """Say which workloads, ports and addresses change verdict from the policy OLD to NEW, however
    they are written. Without OLD, from the policy in the kernel.

    Exit status 1 where the two do not decide alike everywhere, or it is too much to say so.
    """
    from portwatch.agent.identity.account_words import accounts_of
    from portwatch.cli.patience import patience
    from portwatch.policy.difference.compare import compare
    from portwatch.policy.difference.effort import QUICK, THOROUGH
    from portwatch.policy.source.load import load_policy
    from portwatch.policy.tables.compile import compile_policy

    if len(paths) > 2:
        raise UsageError("diff takes two policies", hint="portwatch diff OLD NEW")
    new = load_policy(paths[-1])
    old = load_policy(paths[0]) if paths[1:] else _in_kernel(pin_dir)
    with patience("comparing"):
        for policy in (old, new):
            accounts = accounts_of(policy)
            compile_policy(policy, accounts)  # refuses what no kernel would take
        difference = compare(old, new, accounts, THOROUGH if thorough else QUICK)
    if as_json:
        from portwatch.cli.difference_facts import difference_facts

        click.echo(json.dumps(difference_facts(difference)))
    else:
        _print(difference, show_all)
    if difference.regions or not difference.is_complete:
        raise click.exceptions.Exit(1)


def _in_kernel(pin_dir: Path) -> Policy:
    from portwatch.agent.in_force import policy_in_kernel
    from portwatch.kernel.pins import PinDir

    try:
        return policy_in_kernel(PinDir(pin_dir))[0]
    except NotLoaded as err:
        raise NotLoaded(
            f"no policy is in force at {pin_dir} to compare with", hint="portwatch diff OLD NEW"
        ) from err


def _print(difference: Comparison, show_all: bool) -> None:
    from portwatch.cli.difference_table import show_difference

    show_difference(difference, show_all)
