"""`listeners`: what listens now, whose it is, and what the policy says of it."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, engines_option, json_option, pin_dir_option

if TYPE_CHECKING:
    from portwatch.agent.identity.containers import ContainerBook
    from portwatch.agent.survey.survey import Surveyed
    from portwatch.node.published_ports import PublishedPort
    from portwatch.policy.model import Policy


@click.command()
@click.option(
    "--policy",
    type=ANY_PATH,
    metavar="PATH",
    help="Judge by this policy.  [default: the one in the kernel]",
)
@click.option(
    "--port", "ports", type=click.IntRange(1, 65535), multiple=True, help="Only this port; again."
)
@click.option("--workload", metavar="GLOB", help="Only workloads of that name.")
@engines_option
@pin_dir_option
@json_option
def listeners(
    policy: Path | None,
    ports: tuple[int, ...],
    workload: str | None,
    engines: tuple[str, ...],
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Show every listening TCP and SCTP socket and every bound UDP one, in all network namespaces:
    whose it is, since when its process runs, and what the policy says of it.

    Also ports that are taken with no socket, because a NAT rule sends what comes in elsewhere:
    published by Docker, Podman or a CNI plugin, NodePorts, and rules of your own. --workload leaves
    them out.

    Exit status 1 where one is against the policy. A port of the range that the kernel picks from
    is not held against a UDP client, nor where the policy allows `ephemeral`.
    """
    from portwatch.agent.identity.account_words import accounts_of
    from portwatch.agent.identity.container_asking import ask_now
    from portwatch.agent.survey.survey import survey
    from portwatch.cli.enforcement import HOST, cgroup_tree, parse_engines
    from portwatch.cli.listener_table import print_published, print_table
    from portwatch.cli.patience import patience
    from portwatch.node.accounts import AccountTable
    from portwatch.node.listeners import find_listeners

    sockets = parse_engines(engines)
    judged_by, below = _policy(policy, pin_dir)
    with patience("looking at what listens"):
        listing = find_listeners()
        accounts = accounts_of(judged_by) if judged_by else AccountTable({}, {})
        tree = cgroup_tree()
        book = ask_now(tree, HOST, tree.scan(), sockets)
        found = survey(judged_by, listing.listeners, accounts, below, book)
    for text in listing.not_seen:
        click.echo(f"portwatch: warning: what listens in {text}", err=True)
    for text in listing.unread:
        click.echo(f"portwatch: warning: ports that are taken with no socket: {text}", err=True)
    published = [
        one
        for one in listing.published
        if workload is None
        and (not ports or any(one.takes(one.rule.protocol, port) for port in ports))
    ]
    surveyed = [
        one
        for one in found
        if (not ports or one.listener.port in ports)
        and (workload is None or fnmatchcase(one.workload, workload))
    ]
    surveyed.sort(key=lambda one: not one.violates)
    if as_json:
        found_facts = [_facts(one, book) for one in surveyed]
        found_facts += [_published_facts(one, book) for one in published]
        click.echo(json.dumps(found_facts))
    else:
        print_table(surveyed, judged_by is not None)
        print_published(published)
        if judged_by is None:
            click.echo(f"no policy is in force at {pin_dir}: --policy PATH judges by one")
    if any(one.violates for one in surveyed):
        raise click.exceptions.Exit(1)


def _policy(path: Path | None, pin_dir: Path) -> tuple[Policy | None, str]:
    """What to judge by, None where nothing is in force; and the cgroup that it is in force for."""
    from portwatch.agent.in_force import attached_below, policy_in_kernel
    from portwatch.cli.enforcement import cgroup_tree
    from portwatch.errors import NotLoaded
    from portwatch.kernel.pins import PinDir
    from portwatch.policy.source.load import load_policy

    if path is not None:
        return load_policy(path), "/"
    pins = PinDir(pin_dir)
    try:
        policy, _ = policy_in_kernel(pins)
    except NotLoaded:
        return None, "/"
    return policy, attached_below(pins, cgroup_tree())


def _facts(one: Surveyed, book: ContainerBook) -> dict[str, object]:
    """The keys of a `listener` event, with the scope and how many processes share the socket."""
    from portwatch.agent.events.listener import listener_event

    facts = listener_event(one, book)
    del facts["kind"], facts["count"]
    more = {"more_processes": one.listener.more} if one.listener.more else {}
    return {**facts, "scope": one.scope, **more}


def _published_facts(one: PublishedPort, book: ContainerBook) -> dict[str, object]:
    """The keys of a `collision` event's `bind` and `holder`, and the last port of a range."""
    from portwatch.agent.events.workload import network_parts

    rule = one.rule
    bind = {
        "protocol": rule.protocol,
        "address": one.address,
        "port": rule.first,
        **({"last_port": rule.last} if rule.last != rule.first else {}),
        **network_parts(one.network, one.is_host_network, book),
    }
    return {"bind": bind, "published": one.facts()}
