"""`events`: what the running agent tells."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portwatch.cli.event_filter import EventFilter, filter_options
from portwatch.cli.options import json_option, pin_dir_option

if TYPE_CHECKING:
    from portwatch.agent.events.reader import EventReader

RETRY_SECONDS = 0.2


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin with the latest N.  [default: all that the agent remembers, up to 1,000]",
)
@filter_options
@pin_dir_option
@json_option
def events(
    follow: bool,
    count: int | None,
    since: float | None,
    kinds: tuple[str, ...],
    constraint: str | None,
    workload: str | None,
    port: int | None,
    pin_dir: Path,
    as_json: bool,
) -> None:
    """Print the latest events of the running agent, JSON where the output is no terminal.

    With -f go on, also with the next agent when this one ends; Ctrl-C ends it.
    """
    from portwatch.cli.event_line import event_line

    wanted = EventFilter(since, kinds, constraint, workload, port)
    in_words = os.isatty(1) and not as_json
    for line in _lines(pin_dir, follow, count, wanted):
        click.echo(event_line(json.loads(line)) if in_words else line)


def _lines(pin_dir: Path, follow: bool, count: int | None, wanted: EventFilter) -> Iterator[bytes]:
    from portwatch.agent.events.reader import EventReader

    def passes(line: bytes) -> bool:
        return wanted.is_empty or wanted.passes(json.loads(line))

    reader = EventReader(pin_dir)
    past = filter(passes, reader.past())
    yield from past if count is None else deque(past, maxlen=count)
    while follow:
        yield from filter(passes, reader.coming())
        click.echo("portwatch: the agent has ended; waiting for the next", err=True)
        reader.close()
        reader, begun = _next_reader(pin_dir)
        yield from filter(passes, begun)
    reader.close()


def _next_reader(pin_dir: Path) -> tuple[EventReader, list[bytes]]:
    """The next agent's, with what it remembers; not one that is just ending."""
    from portwatch.agent.events.reader import EventReader
    from portwatch.errors import NotLoaded, PortwatchError

    while True:
        try:
            reader = EventReader(pin_dir)
        except NotLoaded:
            time.sleep(RETRY_SECONDS)
            continue
        try:
            return reader, list(reader.past())
        except PortwatchError:  # it ended, or has no room: for now
            reader.close()
            time.sleep(RETRY_SECONDS)
