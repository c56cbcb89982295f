"""The pods that were known last, as a file: for the next agent and for commands that end at once.

An agent that starts while the API server is away would otherwise know nobody. Only root writes
here, and may read it.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from portwatch.agent.events.hub import RUN_DIRECTORY
from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.kernel.pins import name_for
from portwatch.node.paths import HostPaths
from portwatch.node.root_file import read_root_file, write_root_file

log = logging.getLogger(__name__)

PATTERN = "pods*.json"
MAX_BYTES = 64 << 20
EVERY_SECONDS = 5.0
CONTACT_SECONDS = 60.0


def pods_path(pin_dir: Path) -> Path:
    """Return where the agent of a pin directory keeps its pods."""
    return RUN_DIRECTORY / f"{name_for(pin_dir, 'pods')}.json"


@dataclass(frozen=True)
class KeptPods:
    """What a file has: `contact_seconds` is when the API server was last heard of, since the epoch,
    0 for never; a minute more is not told."""

    book: PodBook
    contact_seconds: float = 0.0


def read_pods(path: Path) -> KeptPods | None:
    """Return what is there; None where there is no such file, or it is another's."""
    try:
        found = read_root_file(path, MAX_BYTES)
        if found is None:
            return None
        kept = json.loads(found)
        return KeptPods(PodBook.load(kept["pods"]), float(kept["contact"]))
    except (OSError, ValueError, KeyError, TypeError) as err:
        log.warning("ignoring %s: %s", path, err)
        return None


def forget_pods(pin_dir: Path) -> None:
    """Remove what is kept: nothing is enforced there any more."""
    pods_path(pin_dir).unlink(missing_ok=True)


def pods_of_agents(host: HostPaths) -> PodBook:
    """Return what the agents of this machine know or knew last."""
    book = PodBook()
    try:
        paths = sorted((host.run / "portwatch").glob(PATTERN))
    except OSError:
        return book
    for path in paths:
        kept = read_pods(path)
        for pod in kept.book if kept else ():
            book.learn(pod)
    return book


class PodFile:
    """Writes a book now and then, whole or not at all."""

    def __init__(self, path: Path, book: PodBook) -> None:
        self._path = path
        self._book = book
        self._due: float | None = None
        self._contact = 0.0

    def changed(self) -> None:
        """There is something to write."""
        self._due = self._due or time.monotonic() + EVERY_SECONDS

    def tick(self, now: float, contact_seconds: float) -> None:
        """Write what is due; `now` is monotonic, in seconds."""
        if contact_seconds - self._contact > CONTACT_SECONDS:
            self.changed()
        if self._due is not None and now >= self._due:
            self.write(contact_seconds)

    def write(self, contact_seconds: float) -> None:
        """Write it now, if anything has changed."""
        if self._due is None:
            return
        self._due, self._contact = None, contact_seconds
        kept = {"contact": contact_seconds, "pods": self._book.dump()}
        text = json.dumps(kept, separators=(",", ":"))
        try:
            write_root_file(self._path, text, directory_mode=0o755)
        except OSError as err:
            log.warning("the pods that are known are not kept: %s", err)
