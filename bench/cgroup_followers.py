"""Two ways to learn of new cgroups: the kernel's tracepoints, as the agent does, and inotify."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from inotify_simple import INotify, flags

from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.kernel.ringbuf import RingReader


class Follower(Protocol):
    """Learns of new cgroups and has them classified."""

    def fileno(self) -> int:
        """Readable when there is news."""

    def read(self) -> Iterable[str]:
        """The paths of cgroups that came or went."""

    def close(self) -> None:
        """Stop."""


class Tracepoints:
    """As the agent does it."""

    def __init__(self, pins: PinDir) -> None:
        record_bytes = ctypes.sizeof(layout.CgroupEvent)
        self._ring = RingReader(pins.open_map("cgroup_events"), record_bytes)
        self.fileno = self._ring.fileno
        self.close = self._ring.close

    def read(self) -> Iterable[str]:
        """What is in the ring."""
        for record in self._ring.read():
            yield os.fsdecode(layout.CgroupEvent.from_buffer_copy(record).path)


class Watches:
    """A watch on every directory. What is made in a new one before its watch is found by listing
    it, after the watch is there."""

    def __init__(self, mount_point: Path, top: Path) -> None:
        self._inotify = INotify(nonblocking=True)
        self._start = len(str(mount_point))
        self._directories: dict[int, str] = {}
        for directory, _, _ in os.walk(top):
            self._watch(directory)
        self.fileno = self._inotify.fileno
        self.close = self._inotify.close

    def read(self) -> Iterable[str]:
        """What the watches say."""
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.ISDIR and event.wd in self._directories:
                path = f"{self._directories[event.wd]}/{event.name}"
                yield path[self._start :]
                if event.mask & flags.CREATE:
                    yield from self._below(path)
            elif event.mask & flags.IGNORED:
                self._directories.pop(event.wd, None)

    def _below(self, directory: str) -> Iterator[str]:
        try:
            self._watch(directory)
            with os.scandir(directory) as entries:
                inner = [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for path in inner:
            yield path[self._start :]
            yield from self._below(path)

    def _watch(self, directory: str) -> None:
        wanted = flags.CREATE | flags.DELETE | flags.ONLYDIR
        self._directories[self._inotify.add_watch(directory, wanted)] = directory
