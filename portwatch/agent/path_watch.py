"""Says when a file, or the files of a directory, have changed and are at rest again.

By inotify on what holds them: a rename over one, a write in place once it is closed, and the
symlink swap by which the kubelet updates a ConfigMap. Waits until nothing has changed for a
moment, so that a file that is replaced half-way is not read half-way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from inotify_simple import Event, INotify, flags

SETTLE_SECONDS = 0.2
MAX_SETTLE_SECONDS = 2.0
MAX_LINKS = 40  # as many as the kernel follows
ANY_NAME = "*"
# Not MODIFY: a file that is still being written is no news yet. Nor is one that was just
# created; but a directory or a link may be.
WATCHED = (
    flags.CLOSE_WRITE
    | flags.CREATE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
)


class PathWatch:
    """Watches all of `paths`, those too that are not there yet."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = [path.absolute() for path in paths]
        self._inotify = INotify(nonblocking=True)
        self._first_change: float | None = None
        self._last_change = 0.0
        self._watched: dict[int, tuple[Path, set[str]]] = {}
        self._watch()

    def fileno(self) -> int:
        """Readable when something has happened: for select() and its kin."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()

    def notice(self, now: float) -> None:
        """Take what inotify says; `now` is monotonic, in seconds."""
        if any(self._matters(event) for event in self._inotify.read(timeout=0)):
            self._first_change = now if self._first_change is None else self._first_change
            self._last_change = now
            self._watch()

    def settled(self, now: float) -> bool:
        """Whether there was a change and it is over; true once for each."""
        if self._first_change is None:
            return False
        quiet = now - self._last_change >= SETTLE_SECONDS
        if not quiet and now - self._first_change < MAX_SETTLE_SECONDS:
            return False
        self._first_change = None
        return True

    def _matters(self, event: Event) -> bool:
        if event.mask & flags.Q_OVERFLOW:
            return True
        if event.wd not in self._watched:
            return False
        directory, names = self._watched[event.wd]
        if event.name and ANY_NAME not in names and event.name not in names:
            return False
        if event.mask & flags.CREATE and not event.mask & flags.ISDIR:
            return bool((directory / event.name).is_symlink())
        return True

    def _watch(self) -> None:
        """Watch every directory through which the paths are reached, links followed."""
        watched: dict[int, tuple[Path, set[str]]] = {}
        for step in self._every_step():
            with contextlib.suppress(OSError):  # not there yet: what holds it is watched too
                number = self._inotify.add_watch(step.parent, WATCHED)
                watched.setdefault(number, (step.parent, set()))[1].add(step.name)
        for number in self._watched.keys() - watched.keys():
            with contextlib.suppress(OSError):  # it is gone, and its watch with it
                self._inotify.rm_watch(number)
        self._watched = watched

    def _every_step(self) -> Iterator[Path]:
        for path in self._paths:
            yield from _steps(path)
            if path.is_dir():
                yield path / ANY_NAME


def _steps(path: Path, links: int = 0) -> Iterator[Path]:
    """The path, every link on the way to it, and what of it is not there yet."""
    for step in (path, *path.parents):
        is_link = step.is_symlink()
        if step == path or is_link or not step.exists():
            yield step
        if is_link and links < MAX_LINKS:
            yield from _steps(step.parent / os.readlink(step) / path.relative_to(step), links + 1)
