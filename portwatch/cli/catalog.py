"""`catalog`: the named sets of ports that a policy can use as `catalog:NAME`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from portwatch.cli.options import json_option
from portwatch.cli.tables import show_table
from portwatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portwatch.policy.catalog.catalog import CatalogEntry


@click.command()
@click.argument("name", required=False)
@json_option
def catalog(name: str | None, as_json: bool) -> None:
    """List the sets of ports that `catalog:NAME` means in a policy, or show the one called NAME.

    The machine's own are *.yaml in /etc/portwatch/catalog.d (or $PORTWATCH_CATALOG_DIR): a set
    there replaces the built-in one of its name or, with `extends: true`, adds to it. Exit status 2
    where one of these files is bad.
    """
    from portwatch.policy.catalog.catalog import catalog as read_catalog

    entries = read_catalog()
    shown = list(entries.values()) if name is None else [_find(entries, name)]
    if as_json:
        facts = [_facts(entry) for entry in shown]
        click.echo(json.dumps(facts if name is None else facts[0]))
    elif name is None:
        rows = [(entry.name, entry.description, ", ".join(_ports(entry))) for entry in shown]
        show_table(("NAME", "DESCRIPTION", "PORTS"), rows)
    else:
        click.echo("\n".join(_lines(shown[0])))


def _find(entries: Mapping[str, CatalogEntry], name: str) -> CatalogEntry:
    from portwatch.policy.source.problems import nearest, quote

    found = entries.get(name.removeprefix("catalog:"))
    if found is None:
        near = nearest(name.removeprefix("catalog:"), list(entries))
        hint = f"did you mean `{near}`?" if near else "`portwatch catalog` lists them"
        raise UsageError(f"the catalog has no {quote(name)}", hint=hint)
    return found


def _ports(entry: CatalogEntry) -> list[str]:
    """The ports as policies write them, by number."""
    from portwatch.policy.words.port_text import range_text

    ranges = sorted(entry.ranges, key=lambda item: (item.first, item.last, item.protocol or ""))
    return [range_text(item) for item in ranges]


def _facts(entry: CatalogEntry) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": entry.name,
        "description": entry.description,
        "source": entry.source,
        "ports": _ports(entry),
    }
    if entry.includes:
        facts["includes"] = list(entry.includes)
    if entry.file is not None:
        facts["file"] = entry.file
    return facts


def _lines(entry: CatalogEntry) -> list[str]:
    lines = [f"catalog:{entry.name}  {entry.description}".rstrip()]
    lines.append(f"  ports     {', '.join(_ports(entry))}")
    if entry.includes:
        lines.append(f"  includes  {', '.join(entry.includes)}")
    lines.append(f"  source    {entry.source}")
    if entry.file is not None:
        lines.append(f"  file      {entry.file}")
    return lines
