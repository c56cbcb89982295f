"""A word to whoever waits at a terminal, and only if they have to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

AFTER_SECONDS = 0.5
STEP_SECONDS = 0.1
ERASE = "\r\x1b[K"
_WHEEL = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@contextmanager
def patience(text: str) -> Iterator[None]:
    """Say what is being done on stderr, where that is a terminal, once it has taken half a second;
    the line is gone when it is done, or has failed. Nothing else may write there meanwhile."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()

    def turn() -> None:
        if over.wait(AFTER_SECONDS):
            return
        for mark in cycle(_WHEEL):
            sys.stderr.write(f"\r{mark} {text} …")
            sys.stderr.flush()
            if over.wait(STEP_SECONDS):
                break
        sys.stderr.write(ERASE)
        sys.stderr.flush()

    wheel = threading.Thread(target=turn, daemon=True)
    wheel.start()
    try:
        yield
    finally:
        over.set()
        wheel.join()
