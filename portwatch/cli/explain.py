"""`explain`: the verdict on a bind and, constraint by constraint, why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import ANY_PATH, json_option, pin_dir_option
from portwatch.cli.subject_options import SubjectOptions, subject_options
from portwatch.cli.verdict_style import verdict_text

if TYPE_CHECKING:
    from portwatch.policy.decide import Decision, Step


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

    Exit status 1 where it is denied or recorded.
    """
    from portwatch.agent.account_words import AccountWords
    from portwatch.cli.endpoint_text import parse_endpoint
    from portwatch.cli.subject_options import find_subject
    from portwatch.policy.decide import explain as explain_bind
    from portwatch.policy.decide import workload_name
    from portwatch.policy.load import load_policy

    endpoint = parse_endpoint(port, address, picked)
    if path is not None:
        policy = load_policy(path)
    else:
        from portwatch.agent.in_force import policy_in_kernel
        from portwatch.kernel.pins import PinDir

        policy, _ = policy_in_kernel(PinDir(pin_dir))
    asked = find_subject(subject, AccountWords.of(policy))
    who = asked.subject
    decision, steps = explain_bind(policy, who, endpoint)
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
        }
        click.echo(json.dumps({key: value for key, value in facts.items() if value is not None}))
    else:
        _print(f"{policy.source}: {port} on {address} by {asked.text}", decision, steps)
        if asked.note:
            click.echo(f"note: {asked.note}")
    if decision.verdict != "allowed":
        raise click.exceptions.Exit(1)


def _print(question: str, decision: Decision, steps: list[Step]) -> None:
    click.echo(question)
    width = max(len(step.name) for step in steps)
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step.name:<{width}}  {step.why}")
    verdict = verdict_text(decision.verdict)
    if decision.verdict == "allowed":
        click.echo(f"{verdict}" + (f" by {decision.constraint}" if decision.constraint else ""))
        return
    outcome = f"fails with {decision.errno}" if decision.verdict == "denied" else "goes through"
    click.echo(f"{verdict} by {decision.constraint}: bind() {outcome}")
    if decision.reason:
        click.echo(f"reason: {decision.reason}")
