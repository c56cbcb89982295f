"""`events`: what the running agent tells."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import click

from portwatch.cli.options import json_option, pin_dir_option

QUIET_SECONDS = 0.3


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come.")
@pin_dir_option
@json_option
def events(follow: bool, pin_dir: Path, as_json: bool) -> None:
    """Print the latest events of the running agent, JSON where the output is no terminal."""
    from portwatch.cli.event_line import event_line

    for line in _lines(pin_dir, follow):
        if as_json or not os.isatty(1):
            click.echo(line)
        else:
            click.echo(event_line(json.loads(line)))


def _lines(pin_dir: Path, follow: bool) -> Iterator[bytes]:
    from portwatch.agent.events.hub import socket_path
    from portwatch.errors import NotLoaded, PrivilegeMissing

    path = socket_path(pin_dir)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except PermissionError as err:
        raise PrivilegeMissing(f"may not read {path}", hint="run it as root") from err
    except OSError as err:
        raise NotLoaded(
            f"no agent runs on {pin_dir}", hint="portwatch run starts one; status shows counts"
        ) from err
    # What the agent remembers comes at once; without -f, the first silence is the end.
    connection.settimeout(None if follow else QUIET_SECONDS)
    rest = b""
    while True:
        try:
            data = connection.recv(65536)
        except TimeoutError:
            return
        if not data:
            if follow:
                click.echo("portwatch: the agent has ended", err=True)
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
