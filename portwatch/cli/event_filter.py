"""Which events `events` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import click

from portwatch.agent.events.kinds import EVENT_KINDS
from portwatch.cli.since import iso_seconds, since_option

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class EventFilter:
    """What an event has to be; what is empty asks for nothing. What was lost is told in any case,
    but where other kinds are asked for."""

    since: float | None = None
    kinds: Sequence[str] = ()
    constraint: str | None = None
    workload: str | None = None
    port: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all events pass."""
        return self == EventFilter()

    def passes(self, event: dict[str, Any]) -> bool:
        """Whether this one is wanted."""
        if self.kinds and event["kind"] not in self.kinds:
            return False
        if self.since is not None and event.get("time", "~") < iso_seconds(self.since):
            return False
        if event["kind"] == "lost":
            return True
        if self.constraint is not None and event.get("constraint") != self.constraint:
            return False
        if self.port is not None and event.get("bind", {}).get("port") != self.port:
            return False
        if self.workload is None:
            return True
        sides = (event.get("workload"), event.get("holder", {}).get("workload"))
        return any(side and fnmatchcase(side["name"], self.workload) for side in sides)


def filter_options(command: Command) -> Command:
    """The options of which the command makes its EventFilter."""
    for option in (
        click.option("--port", type=click.IntRange(0, 65535), help="Only of this port."),
        click.option("--workload", metavar="GLOB", help="Only of workloads that match."),
        click.option("--constraint", metavar="NAME", help="Only of this constraint."),
        click.option(
            "--kind",
            "kinds",
            type=click.Choice(EVENT_KINDS),
            multiple=True,
            help="Only this; repeatable.",
        ),
        since_option,
    ):
        command = option(command)
    return command
