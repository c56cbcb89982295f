"""`explain`: the verdict on a bind and, constraint by constraint, why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.explanation import Answer, more_facts, print_answer
from portwatch.cli.options import ANY_PATH, json_option, pin_dir_option
from portwatch.cli.subject_options import Asked, SubjectOptions, subject_options

if TYPE_CHECKING:
    from portwatch.policy.model import Policy
    from portwatch.policy.reading import Endpoint
    from portwatch.policy.workload import Subject


@click.command()
@click.argument("path", required=False, type=ANY_PATH)
@subject_options
@click.option(
    "--port",
    required=True,
    metavar="PORT[/PROTOCOL]",
    help="`9000`, `9000/udp`, or `ephemeral` for a bind to port 0.  [default protocol: tcp]",
)
@click.option("--picked", is_flag=True, help="The kernel picked this port for a bind to port 0.")
@click.option(
    "--address",
    default="0.0.0.0",  # noqa: S104 (it is what the bind is asked about, not bound)
    show_default=True,
    help="`::` stands for a dual-stack socket; `::/v6only` for one with IPV6_V6ONLY.",
)
@pin_dir_option
@json_option
def explain(
    path: Path | None,
    subject: SubjectOptions,
    port: str,
    picked: bool,
    address: str,
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Say what a bind would get from the policy at PATH, without PATH from the one in the kernel.

    Where it is denied, also which ports this workload may have, and who has the one asked for: by
    the policy, by the catalog, and, for root, on this machine now. A port that a NAT rule gives to
    somebody else is told where the bind is allowed, too: nothing would reach it.

    Exit status 1 where it is denied or recorded.
    """
    from portwatch.agent.identity.account_words import AccountWords
    from portwatch.cli.endpoint_text import parse_endpoint
    from portwatch.cli.patience import patience
    from portwatch.cli.subject_options import find_subject
    from portwatch.policy.decide import workload_name
    from portwatch.policy.source.load import load_policy

    endpoint = parse_endpoint(port, address, picked)
    if path is not None:
        policy = load_policy(path)
    else:
        from portwatch.agent.in_force import policy_in_kernel
        from portwatch.kernel.pins import PinDir

        policy, _ = policy_in_kernel(PinDir(pin_dir))
    with patience("looking who runs here"):
        asked = find_subject(subject, AccountWords.of(policy))
        who = asked.subject
        answer = answer_to(policy, asked, endpoint, port, address)
    decision, steps = answer.decision, answer.steps
    if as_json:
        facts = {
            "verdict": decision.verdict,
            "constraint": decision.constraint,
            "errno": decision.errno,
            "reason": decision.reason,
            "workload": workload_name(policy, who),
            "cgroup": who.cgroup,
            "note": asked.note,
            "steps": [vars(step) for step in steps],
            **more_facts(answer),
        }
        click.echo(json.dumps({key: value for key, value in facts.items() if value is not None}))
    else:
        print_answer(answer)
        if asked.note:
            click.echo(f"note: {asked.note}")
    if decision.verdict != "allowed":
        raise click.exceptions.Exit(1)


def answer_to(policy: Policy, asked: Asked, endpoint: Endpoint, port: str, address: str) -> Answer:
    """All there is to say of a bind; `port` and `address` are how the user calls its endpoint."""
    from portwatch.agent.survey.port_now import published_on
    from portwatch.policy.decide import explain as explain_bind
    from portwatch.policy.sentences import port_text

    decision, steps = explain_bind(policy, asked.subject, endpoint)
    question = f"{policy.source}: {port} on {address} by {asked.text}"
    answer = Answer(question, port_text(endpoint), endpoint.protocol, decision, steps)
    if asked.subject.host_network:
        published, unread = published_on(endpoint)
        answer = replace(answer, published=[one.facts() for one in published], unread=unread)
    if decision.verdict == "allowed":
        return answer
    return _with_more(answer, policy, asked.subject, endpoint, address)


def _with_more(
    answer: Answer, policy: Policy, who: Subject, endpoint: Endpoint, address: str
) -> Answer:
    """With what a service that may not have a port wants to know next."""
    from portwatch.agent.identity.account_words import accounts_of
    from portwatch.agent.survey.port_now import socket_facts, sockets_on
    from portwatch.policy.owners import catalog_sets, owners
    from portwatch.policy.tables.compile import compile_policy
    from portwatch.policy.tables.permitted import permitted
    from portwatch.policy.workload import declared_ports

    declared = declared_ports(who.cgroup, who.container)
    compiled = compile_policy(policy, accounts_of(policy), declared)
    return replace(
        answer,
        may_bind=permitted(compiled, who, address, endpoint.address),
        owners=owners(policy, endpoint),
        catalog=catalog_sets(endpoint.protocol, endpoint.port),
        holders=[socket_facts(one) for one in sockets_on(endpoint)] if who.host_network else [],
    )
