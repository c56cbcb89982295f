"""The pin directory: what lies where, with which modes, and who may change it.

    DIR/maps/NAME  DIR/programs/HOOK  DIR/links/HOOK  DIR/agent (locked while an agent runs)

Directories are 0700, pins 0600. Locks are flock() on directories, since bpffs has no files.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portwatch.digest import sha256
from portwatch.errors import AlreadyRunning, KernelError, NotLoaded, PinMismatch, PrivilegeMissing
from portwatch.kernel import libbpf, maps
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.mounts import mount

DEFAULT_PIN_DIR = Path("/sys/fs/bpf/portwatch")
BPFFS_MAGIC = 0xCAFE4A11
LOCK_WAIT_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.02


def name_for(pin_dir: Path, what: str) -> str:
    """Return what a file that goes with a pin directory is called elsewhere, without its ending."""
    if pin_dir == DEFAULT_PIN_DIR:
        return what
    return f"{what}-{sha256(str(pin_dir).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class PinDir:
    """One set of pins."""

    path: Path = DEFAULT_PIN_DIR

    @property
    def maps(self) -> Path:
        """Where the maps are."""
        return self.path / "maps"

    @property
    def programs(self) -> Path:
        """Where the programs are."""
        return self.path / "programs"

    @property
    def links(self) -> Path:
        """Where the links are."""
        return self.path / "links"

    @property
    def agent(self) -> Path:
        """The directory that a running agent keeps locked."""
        return self.path / "agent"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Those that hold pins, in the order in which pins are removed."""
        return self.links, self.programs, self.maps

    def exists(self) -> bool:
        """Whether anything was loaded here: directories alone do not count."""
        return self.maps.is_dir() and any(self.maps.iterdir())

    def create(self) -> None:
        """Make the directories, each its owner's alone."""
        for directory in (self.path, self.maps, self.programs, self.links, self.agent):
            directory.mkdir(mode=0o700, exist_ok=True)

    def open_map(self, name: str) -> BpfMap:
        """The pinned map; NotLoaded where there is none, PinMismatch where it is another's."""
        path = self.maps / name
        try:
            fd = libbpf.object_get(str(path))
        except FileNotFoundError as err:
            raise NotLoaded(
                f"nothing is loaded at {self.path}", hint="portwatch load, or portwatch run"
            ) from err
        except PermissionError as err:
            raise PrivilegeMissing(f"may not open {path}", hint="run it as root") from err
        except OSError as err:
            raise foreign(path) from err
        if not maps.matches(name, fd):
            os.close(fd)
            raise foreign(path)
        return BpfMap(fd, name)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock under which pins and policies change; waits for a swap that runs."""
        with _locked(self.path, wait_seconds=LOCK_WAIT_SECONDS) as mine:
            if not mine:
                raise KernelError(
                    f"{self.path} is being changed by another process since "
                    f"{LOCK_WAIT_SECONDS:.0f} s",
                    hint="see who holds it: fuser -v " + str(self.path),
                )
            yield

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the lock of the one agent; AlreadyRunning where another holds it."""
        with _locked(self.agent) as mine:
            if not mine:
                raise AlreadyRunning(
                    f"another agent runs on {self.path}",
                    hint="portwatch status shows it; stop it, or choose another --pin-dir",
                )
            yield

    @contextmanager
    def outlived(self) -> Iterator[Callable[[float], bool]]:
        """Gives what waits so many seconds for the agent here to end, and tells whether it has; the
        pins may be gone by then."""
        try:
            fd = os.open(self.agent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            yield lambda _: True
            return
        try:
            yield lambda seconds: _lock_before(fd, time.monotonic() + seconds)
        finally:
            os.close(fd)

    def agent_pid(self, locks: Path = Path("/proc/locks")) -> int | None:
        """The process that holds the agent's lock, by proc_locks(5); None where none does."""
        try:
            held = self.agent.stat()
        except OSError:
            return None
        device = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}"
        for line in locks.read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5] == f"{device}:{held.st_ino}":
                return int(fields[4])
        return None


def foreign(path: Path) -> PinMismatch:
    """The error for a pin that is not what its name says."""
    return PinMismatch(
        f"{path} is not a pin of this version of portwatch",
        hint=f"portwatch unload --pin-dir {path.parents[1]} removes it with all others there",
    )


def ensure_bpffs(directory: Path) -> None:
    """Mount bpffs at its usual place where the directory is not on one yet."""
    parent = directory.parent
    while not parent.exists():
        parent = parent.parent
    if is_bpffs(parent):
        return
    if parent != Path("/sys/fs/bpf"):
        raise KernelError(
            f"{directory} is not on a BPF file system",
            hint="choose a --pin-dir below /sys/fs/bpf",
        )
    try:
        mount("bpf", parent, "mode=0700")
    except OSError as err:
        raise KernelError(
            f"no BPF file system at {parent}, and mounting one failed: {err.strerror}",
            hint=f"as root: mount -t bpf bpf {parent}",
        ) from err


def is_bpffs(path: Path) -> bool:
    """Whether `path` is on a BPF file system, by statfs(2)'s f_type."""
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == BPFFS_MAGIC


@contextmanager
def _locked(directory: Path, wait_seconds: float = 0.0) -> Iterator[bool]:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise NotLoaded(
            f"nothing is loaded at {directory}", hint="portwatch load, or portwatch run"
        ) from err
    except PermissionError as err:
        raise PrivilegeMissing(f"may not open {directory}", hint="run it as root") from err
    try:
        yield _lock_before(fd, time.monotonic() + wait_seconds)
    finally:
        os.close(fd)


def _lock_before(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return True
