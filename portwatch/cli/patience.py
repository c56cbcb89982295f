"""A word to whoever waits at a terminal, and only if they have to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AFTER_SECONDS = 1.0
_ERASE = "\r\x1b[K"


@contextmanager
def patience(text: str) -> Iterator[None]:
    """Say what is being done on stderr, where that is a terminal, once it has taken a second; the
    line is gone when it is done."""
    if not sys.stderr.isatty():
        yield
        return
    said = threading.Event()

    def say() -> None:
        said.set()
        sys.stderr.write(f"{text} …")
        sys.stderr.flush()

    timer = threading.Timer(AFTER_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
