"""The pin directory held open, so that what is pinned there outlives its mount.

Whoever has a directory of a bpffs open keeps all of that file system alive, the links with it:
after a lazy unmount (a plain one is refused then) everything is still attached, and can still be
reached and pinned anew where a bpffs is mounted again. `rm -r` and `portwatch unload` are
different: they remove the pins, and so they detach.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from enum import Enum

from portwatch.errors import KernelError, NotLoaded
from portwatch.kernel import libbpf
from portwatch.kernel.pins import PinDir, is_bpffs
from portwatch.kernel.slots import Slots


class Place(Enum):
    """Where the pins are that were opened."""

    HERE = "where they were"
    REMOVED = "removed by somebody, on purpose"
    AWAY = "without a name: their file system was unmounted"


class HeldPins:
    """`pin_dir` reaches the pins wherever they are; `named` is where they should be."""

    def __init__(self, named: PinDir) -> None:
        self.named = named
        self._fd = _open(named)
        self.pin_dir = PinDir(type(named.path)(f"/proc/self/fd/{self._fd}"))
        self._lock: int | None = None

    def close(self) -> None:
        """Let go: unmounted pins are detached then."""
        for fd in (self._fd, self._lock):
            if fd is not None:
                os.close(fd)

    def place(self, slots: Slots) -> Place:
        """Where the pins are now; `slots` are of the maps that were pinned."""
        held = os.fstat(self._fd)
        if not held.st_nlink or not slots.is_pinned(self.pin_dir):
            return Place.REMOVED
        try:
            found = os.stat(self.named.path)
        except OSError:
            return Place.AWAY
        return Place.HERE if os.path.samestat(held, found) else Place.AWAY

    def restore(self) -> None:
        """Pin everything again where it should be, the agent's lock included; nothing is attached
        or detached for it. KernelError where that cannot be done, or not yet."""
        parent = self.named.path.parent
        if not parent.is_dir() or not is_bpffs(parent):
            raise KernelError(
                f"no BPF file system at {parent}", hint=f"as root: mount -t bpf bpf {parent}"
            )
        if self.named.exists():
            raise KernelError(f"{self.named.path} has other pins by now")
        self.named.create()
        fresh = _open(self.named)
        try:
            with self.named.changing():
                self._pin_all()
            lock = os.open(self.named.agent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._lock is not None:
                os.close(self._lock)
            self._lock = lock
            os.dup2(fresh, self._fd, inheritable=False)
        finally:
            os.close(fresh)

    def _pin_all(self) -> None:
        old, new = self.pin_dir, self.named
        for source, target in zip(old.directories, new.directories, strict=True):
            for path in source.iterdir():
                fd = libbpf.object_get(str(path))
                try:
                    libbpf.object_pin(fd, str(target / path.name))
                finally:
                    os.close(fd)


def _open(named: PinDir) -> int:
    try:
        return os.open(named.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise NotLoaded(
            f"nothing is loaded at {named.path}", hint="portwatch load, or portwatch run"
        ) from err
