"""`--since T`: a moment, or how long ago."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def parse_since(_ctx: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """`90s`, `10m`, `2h`, `7d`, `1w` ago, or ISO 8601, local time where it names no zone, as
    seconds since the epoch; click.BadParameter."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return time.time() - int(ago[1]) * SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as err:
        message = f"`{text}` is no time: 10m, 2h, 7d, or 2026-01-02T03:04"
        raise click.BadParameter(message) from err


def since_option(command: Command) -> Command:
    """`--since T`, as seconds since the epoch; None: all."""
    return click.option(
        "--since",
        callback=parse_since,
        metavar="T",
        help="Only what was seen since: `10m`, `2h`, `7d` ago, or a time such as 2026-01-02T03:04.",
    )(command)


def iso_seconds(seconds: float | None) -> str:
    """As events have it, to the second; empty for None."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return ""
