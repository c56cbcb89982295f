"""`schema`: what editors complete policies from."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of a policy file.

    For an editor with the YAML language server, save it and begin a policy with
    `# yaml-language-server: $schema=PATH`.
    """
    from portwatch.policy.source.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
