"""Network namespaces: the host's cookie, and a process's inode."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass

from portwatch.node.cgroups import CgroupTree
from portwatch.node.paths import HostPaths
from portwatch.node.processes import started_ns

SO_NETNS_COOKIE = 71  # asm-generic/socket.h, 5.14
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class HostNetwork:
    """The host's network namespace, by both names that programs know it by; 0: unknown.

    Before 5.14 no process can ask for a cookie.
    """

    cookie: int = 0
    inode: int = 0


def host_network(host: HostPaths) -> HostNetwork:
    """The network namespace of pid 1, else this process's own.

    In a container that shares the host's pid namespace pid 1 is the host's init. Where its
    namespace may not be read, the one that portwatch was started in is the host.
    """
    theirs, ours = netns_inode(host, 1), netns_inode(host)
    if theirs is None or theirs == ours:
        return HostNetwork(_own_cookie() or 0, ours or 0)
    return HostNetwork(_cookie_elsewhere(str(host.process(1) / "ns" / "net")) or 0, theirs)


def netns_inode(host: HostPaths, pid: int | str = "self") -> int | None:
    """The inode that `ip netns` and lsns show; None where the process is gone or closed to us."""
    try:
        return os.stat(host.proc / str(pid) / "ns" / "net").st_ino
    except OSError:
        return None


def _own_cookie() -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return None
    return int.from_bytes(raw, "little")


def _cookie_elsewhere(namespace: str) -> int | None:
    """From a thread of its own, which alone changes its namespace and then ends."""
    import ctypes

    found: list[int | None] = [None]

    def ask() -> None:
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None).setns(fd, CLONE_NEWNET) == 0:
                found[0] = _own_cookie()
        finally:
            os.close(fd)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def host_network_inode(host: HostPaths) -> int | None:
    """The inode of the host's namespace, as host_network() finds it."""
    return netns_inode(host, 1) or netns_inode(host)


def in_host_network(host: HostPaths, pid: int) -> bool:
    """Whether a process is in the host's network namespace; a closed one counts as the host's."""
    theirs = netns_inode(host, pid)
    return theirs is None or theirs == host_network_inode(host)


def network_of_cgroup(tree: CgroupTree, host: HostPaths, path: str) -> tuple[int, int] | None:
    """The namespace's inode of the process in a cgroup or below it that started first, and when it
    did, in ns since boot; None where there is none, or its namespace is closed to us."""
    found = []
    for pid in tree.processes(path):
        started = started_ns(host.process(pid))
        if started is not None:
            found.append((started, pid))
    for started, pid in sorted(found):
        inode = netns_inode(host, pid)
        if inode is not None and started_ns(host.process(pid)) == started:
            return inode, started
    return None
