"""Whose a socket is: from its inode to the processes that have it open, by /proc/PID/fd.

A process with several threads is looked at once: threads share their descriptors as a rule.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from portwatch.node.cgroups import cgroup_of_process
from portwatch.node.paths import HostPaths
from portwatch.node.processes import (
    namespace_pid,
    process_cmdline,
    process_comm,
    process_exe,
    real_ids,
    started_ns,
)

SOCKET_LINK = "socket:["


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a socket open. `since`: when it started, ISO 8601; ids are the real ones.

    `exe` and `cmdline` are None where they may not be read; `namespace_pid` is its pid in its own
    pid namespace, None where not known.
    """

    pid: int
    comm: str
    exe: str | None
    cmdline: str | None
    uid: int
    gid: int
    cgroup: str
    since: str
    namespace_pid: int | None = None


class SocketHolders:
    """The processes that have these sockets open, found by one pass over their descriptors."""

    def __init__(self, host: HostPaths, pids: Iterable[int], inodes: set[int]) -> None:
        inodes = inodes - {0}  # no file stands for it
        self._host = host
        self._found: dict[int, list[tuple[int, int]]] = {}
        self._described: dict[tuple[int, int], Holder | None] = {}
        for pid in pids:
            started = started_ns(host.process(pid))
            if started is not None:
                for inode in _open_sockets(host, pid) & inodes:
                    self._found.setdefault(inode, []).append((started, pid))

    def any(self, inode: int) -> bool:
        """Whether a process was seen that has the socket."""
        return inode in self._found

    def of(self, inode: int) -> tuple[Holder | None, int]:
        """The oldest process that has the socket, and how many more have it."""
        processes = sorted(self._found.get(inode, ()))
        for position, process in enumerate(processes, 1):
            if process not in self._described:
                self._described[process] = self._describe(*process)
            holder = self._described[process]
            if holder is not None:
                return holder, len(processes) - position
        return None, 0

    def _describe(self, started: int, pid: int) -> Holder | None:
        """None where it ended meanwhile.

        The start time was read before its descriptors and is read again after all else: equal,
        it was one process, and never another with its recycled pid.
        """
        directory = self._host.process(pid)
        comm, ids = process_comm(directory), real_ids(self._host, pid)
        cgroup = cgroup_of_process(self._host, pid)
        exe, cmdline = process_exe(directory), process_cmdline(directory)
        inside = namespace_pid(self._host, pid)
        if comm is None or ids is None or cgroup is None or started_ns(directory) != started:
            return None
        return Holder(pid, comm, exe, cmdline, *ids, cgroup, _iso(started), inside)


def _open_sockets(host: HostPaths, pid: int) -> set[int]:
    directory = f"{host.proc}/{pid}/fd"
    found: set[int] = set()
    try:
        descriptors = os.listdir(directory)
    except OSError:
        return found  # it has ended, or is closed to us: then it is not named
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            link = os.readlink(f"{directory}/{descriptor}")
            if link.startswith(SOCKET_LINK):
                found.add(int(link[len(SOCKET_LINK) : -1]))
    return found


def _iso(boot_ns: int) -> str:
    """A boot time as wall-clock time, to the 10 ms that the kernel keeps of it."""
    boot_seconds = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    moment = datetime.fromtimestamp(round(boot_seconds + boot_ns / 1e9, 2), UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z"
