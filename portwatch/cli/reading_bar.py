"""A progress bar on stderr for what takes more than a moment; nothing where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from portwatch.cli.patience import AFTER_SECONDS, ERASE, patience

LINE_UP = "\x1b[A"


@contextmanager
def reading_bar(label: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Hand out what is to be called with the bytes read since the last call. Of an unknown total,
    as of a pipe, there is no more to say than that it goes on."""
    if total_bytes is None:
        with patience(label):
            yield lambda _bytes: None
        return
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    begun = time.monotonic()
    read = 0
    shown: list[Callable[[int], object]] = []
    with ExitStack() as stack:

        def advance(more: int) -> None:
            nonlocal read
            read += more
            if shown:
                shown[0](more)
            elif time.monotonic() - begun > AFTER_SECONDS:
                stack.callback(_wipe)  # after the bar's own end, which is a new line
                # click before 8.2 does not say what it is
                bar: Any = click.progressbar(length=total_bytes, label=label, file=sys.stderr)
                shown.append(stack.enter_context(bar).update)
                shown[0](read)

        yield advance


def _wipe() -> None:
    sys.stderr.write(LINE_UP + ERASE)
    sys.stderr.flush()
