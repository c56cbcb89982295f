"""Where the agent's policy comes from, and when it has changed.

Follows a file or directory by inotify on what holds it: a rename over it, a write in place
once it is closed, and the symlink swap by which the kubelet updates a ConfigMap. Waits until
nothing has changed for a moment, so that a file that is replaced half-way is not read half-way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import Event, INotify, flags

from portwatch.policy.load import builtin_sources, parse_policy, policy_sources
from portwatch.policy.model import Mode, Policy

DEFAULT_POLICY_DIR = Path("/etc/portwatch/policy.d")
BUILTIN_ORIGIN = "builtin"
SETTLE_SECONDS = 0.2
MAX_SETTLE_SECONDS = 2.0
MAX_LINKS = 40  # as many as the kernel follows
ANY_NAME = "*"
# Not MODIFY: a file that is still being written is no policy yet. Nor is one that was just
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

Source = tuple[str, str | bytes]


@dataclass(frozen=True)
class LoadedPolicy:
    """A checked policy with the texts it came from."""

    policy: Policy
    sources: tuple[Source, ...]
    origin: str
    mode: Mode | None

    @classmethod
    def parse(cls, sources: Sequence[Source], origin: str, mode: Mode | None) -> LoadedPolicy:
        """Check the texts, and put them in `mode` where one is given; PolicyError."""
        policy = parse_policy(sources, source=origin)
        return cls(policy.with_mode(mode) if mode else policy, tuple(sources), origin, mode)


@dataclass(frozen=True)
class PolicySource:
    """What `--policy` and `--mode` ask for. `path` None: the default directory, else built-in."""

    path: Path | None = None
    mode: Mode | None = None
    default_dir: Path = DEFAULT_POLICY_DIR

    @property
    def resolved(self) -> Path | None:
        """The path that is read; None for the built-in policy."""
        if self.path is not None:
            return self.path
        has_files = self.default_dir.is_dir() and any(self.default_dir.glob("*.yaml"))
        return self.default_dir if has_files else None

    def load(self) -> LoadedPolicy:
        """Read and check: PolicyError with every problem, UsageError where it cannot be read."""
        path = self.resolved
        if path is None:
            return LoadedPolicy.parse(builtin_sources(), BUILTIN_ORIGIN, self.mode)
        origin = os.fsencode(path).decode("utf-8", "backslashreplace")
        return LoadedPolicy.parse(policy_sources(path), origin, self.mode)


class PolicyWatch:
    """Says when the policy is worth reading again."""

    def __init__(self, source: PolicySource) -> None:
        self._source = source
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
        """Watch every directory through which the policy is reached, links followed."""
        path = (self._source.path or self._source.default_dir).absolute()
        steps = list(_steps(path))
        if path.is_dir():
            steps.append(path / ANY_NAME)
        watched: dict[int, tuple[Path, set[str]]] = {}
        for step in steps:
            with contextlib.suppress(OSError):  # not there yet: what holds it is watched too
                number = self._inotify.add_watch(step.parent, WATCHED)
                watched.setdefault(number, (step.parent, set()))[1].add(step.name)
        for number in self._watched.keys() - watched.keys():
            with contextlib.suppress(OSError):  # it is gone, and its watch with it
                self._inotify.rm_watch(number)
        self._watched = watched


def _steps(path: Path, links: int = 0) -> Iterator[Path]:
    """The path, every link on the way to it, and what of it is not there yet."""
    for step in (path, *path.parents):
        is_link = step.is_symlink()
        if step == path or is_link or not step.exists():
            yield step
        if is_link and links < MAX_LINKS:
            yield from _steps(step.parent / os.readlink(step) / path.relative_to(step), links + 1)
