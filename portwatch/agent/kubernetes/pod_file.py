"""The pods that were known last, as a file: for the next agent and for commands that end at once.

An agent that starts while the API server is away would otherwise know nobody. Only root writes
here, and may read it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from portwatch.agent.events.hub import socket_path
from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.node.paths import HostPaths

log = logging.getLogger(__name__)

PATTERN = "pods*.json"
MAX_BYTES = 64 << 20
EVERY_SECONDS = 5.0


def pods_path(pin_dir: Path) -> Path:
    """Return where the agent of a pin directory keeps its pods."""
    events = socket_path(pin_dir)
    return events.with_name(events.stem.replace("events", "pods") + ".json")


def read_pods(path: Path) -> PodBook:
    """Return what is there; nothing where there is no such file, or it is another's."""
    try:
        with path.open("rb") as opened:
            if os.fstat(opened.fileno()).st_uid != 0:
                return PodBook()
            text = opened.read(MAX_BYTES)
        return PodBook.load(json.loads(text)["pods"])
    except FileNotFoundError:
        return PodBook()
    except (OSError, ValueError, KeyError, TypeError) as err:
        log.warning("ignoring %s: %s", path, err)
        return PodBook()


def pods_of_agents(host: HostPaths) -> PodBook:
    """Return what the agents of this machine know or knew last."""
    book = PodBook()
    try:
        paths = sorted((host.run / "portwatch").glob(PATTERN))
    except OSError:
        return book
    for path in paths:
        for pod in read_pods(path):
            book.learn(pod)
    return book


class PodFile:
    """Writes a book now and then, whole or not at all."""

    def __init__(self, path: Path, book: PodBook) -> None:
        self._path = path
        self._book = book
        self._due: float | None = None

    def changed(self) -> None:
        """There is something to write."""
        self._due = self._due or time.monotonic() + EVERY_SECONDS

    def tick(self, now: float) -> None:
        """Write what is due; `now` is monotonic, in seconds."""
        if self._due is not None and now >= self._due:
            self.write()

    def write(self) -> None:
        """Write it now, if anything has changed."""
        if self._due is None:
            return
        self._due = None
        text = json.dumps({"pods": self._book.dump()}, separators=(",", ":"))
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            beside.unlink(missing_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w") as opened:
                opened.write(text)
            beside.replace(self._path)
        except OSError as err:
            log.warning("the pods that are known are not kept: %s", err)
