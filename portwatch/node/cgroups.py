"""The cgroup2 hierarchy: where it is mounted, and every cgroup's path with its id.

A cgroup's id, as bpf_get_current_cgroup_id() says it, is its directory's inode number
(64-bit kernels). Paths begin with `/` and are below the hierarchy's root.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from portwatch.errors import KernelError
from portwatch.node.paths import HostPaths

# A path may be longer than any system call takes: whoever may make cgroups below one can nest them.
NOT_TO_BE_FOUND = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ESRCH, errno.ENODEV)

ROOT_ID = 1  # kernfs gives it to a hierarchy's root


def find_cgroup2(host: HostPaths) -> Path:
    """The mount point of the whole hierarchy; in hybrid mode that is not /sys/fs/cgroup.

    Told by the root's id, which is the same for everybody. Else it is a mount of what this cgroup
    namespace has for the root, else of any subtree; KernelError where there is none at all.
    """
    mounts = cgroup2_mounts(host)
    if not mounts:
        raise KernelError(
            "no cgroup2 hierarchy is mounted",
            hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup (systemd does it since 226)",
        )
    whole = [one for one in mounts if one.is_whole]
    return [*whole, *(one for one in mounts if one.root == "/"), *mounts][0].point


@dataclass(frozen=True)
class Cgroup2Mount:
    """One mount of the hierarchy or of a part of it. `root`: which cgroup that is, as this cgroup
    namespace calls it: in a container the machine's root is `/..`, as often as it is deep."""

    point: Path
    root: str

    @property
    def is_whole(self) -> bool:
        """Whether it is the hierarchy's root that is mounted there."""
        try:
            return self.point.stat().st_ino == ROOT_ID
        except OSError:
            return False


def cgroup2_mounts(host: HostPaths) -> list[Cgroup2Mount]:
    """Those of this mount namespace, by proc_pid_mountinfo(5)."""
    found = []
    for line in host.mountinfo.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.startswith("cgroup2 "):
            found.append(Cgroup2Mount(Path(fields[4].replace("\\040", " ")), fields[3]))
    return found


@dataclass(frozen=True)
class CgroupTree:
    """All cgroups below a mount point."""

    mount_point: Path

    @cached_property
    def is_whole(self) -> bool:
        """Whether its root is the hierarchy's: the kernel's paths are the same as ours then."""
        return self.mount_point.stat().st_ino == ROOT_ID

    def scan(self) -> dict[str, int]:
        """Path → id of every cgroup that a path reaches; those that vanish meanwhile are left
        out."""
        found = {"/": self.mount_point.stat().st_ino}
        pending = [str(self.mount_point)]
        start = len(pending[0].rstrip("/"))
        while pending:
            directory = pending.pop()
            try:
                with os.scandir(directory) as entries:
                    below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError as err:
                _raise_unless_not_found(err)
                continue
            for entry in below:
                found[entry.path[start:]] = entry.inode()
                pending.append(entry.path)
        return found

    def id_of(self, path: str) -> int | None:
        """The id of the cgroup at `path`; None where it is gone, or no path reaches it."""
        try:
            return os.stat(f"{self.mount_point}{path}").st_ino
        except OSError as err:
            _raise_unless_not_found(err)
            return None

    def processes(self, path: str) -> list[int]:
        """The pids in the cgroup at `path` and below it, as far as this pid namespace sees them."""
        found = []
        for directory, _, _ in os.walk(self.mount_point / path.lstrip("/")):
            with contextlib.suppress(OSError):  # it is gone, or of threads only
                found += [int(pid) for pid in Path(directory, "cgroup.procs").read_bytes().split()]
        return [pid for pid in found if pid]

    def path_below(self, directory: Path) -> str:
        """A directory of the mount as the path of its cgroup; KernelError where it is none."""
        try:
            relative = directory.resolve().relative_to(self.mount_point)
        except ValueError as err:
            raise KernelError(
                f"{directory} is not a cgroup of {self.mount_point}",
                hint=f"name a directory below {self.mount_point}",
            ) from err
        if not directory.is_dir():
            raise KernelError(
                f"there is no cgroup {directory}", hint=f"mkdir {directory} makes one"
            )
        return "/" if relative == Path() else f"/{relative}"


def cgroup_of_process(host: HostPaths, pid: int) -> str | None:
    """The cgroup2 path of a process below the hierarchy's root, in a container with a cgroup
    namespace of its own, too; None: gone, or too long for this kernel to tell. Others tell as much
    of it as fits 4 KiB."""
    told = _told_cgroup(host, pid)
    root = namespace_root(host) if told is not None else "/"
    return told if told is None or root == "/" else os.path.normpath(f"{root}{told}")


def _told_cgroup(host: HostPaths, pid: int) -> str | None:
    """The same as the kernel tells it, from this cgroup namespace's root."""
    try:
        raw = (host.process(pid) / "cgroup").read_bytes()
    except OSError as err:
        _raise_unless_not_found(err)
        return None
    for line in os.fsdecode(raw).split("\n"):
        if line.startswith("0::"):
            return line[3:].removesuffix(" (deleted)")
    return None


@cache
def namespace_root(host: HostPaths) -> str:
    """The path of what this process's cgroup namespace has for the root: `/`, but in a container.

    The kernel tells only how deep it is; whose it is, by which cgroup has this very process.
    """
    try:
        whole = next((one for one in cgroup2_mounts(host) if one.is_whole), None)
    except OSError:  # a /proc without it
        return "/"
    if whole is None or whole.root == "/":
        return "/"
    depth = whole.root.count("/..")
    for directory, _, _ in os.walk(whole.point):
        with contextlib.suppress(OSError):  # it is gone, or of threads only
            if str(os.getpid()) in Path(directory, "cgroup.procs").read_text().split():
                names = Path(directory).relative_to(whole.point).parts[:depth]
                return f"/{'/'.join(names)}"
    return "/"


def _raise_unless_not_found(err: OSError) -> None:
    if err.errno not in NOT_TO_BE_FOUND:
        raise err
