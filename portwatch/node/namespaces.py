"""The network namespaces of this machine, and a way into each.

What no process is in and nothing in this mount namespace names is not found: a namespace that
only an open descriptor keeps, or that another mount namespace alone has a name for.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portwatch.errors import KernelError
from portwatch.node.netns import CLONE_NEWNET, host_network_inode, netns_inode
from portwatch.node.paths import HostPaths
from portwatch.node.processes import process_ids

GONE = (errno.ENOENT, errno.ESRCH)
LOCAL_PORTS = (32768, 60999)  # net/ipv4/af_inet.c, where the namespace does not say


class NamespaceGone(KernelError):
    """Its last process has ended since it was found, or its name means another one now."""


@dataclass(frozen=True)
class Namespace:
    """A network namespace by its inode, and what opens it."""

    inode: int
    paths: tuple[Path, ...]
    is_host: bool = False

    @property
    def name(self) -> str:
        """As events have it: `host`, or `net:[INODE]`."""
        return network_name(self.inode, self.is_host)


def network_name(inode: int, is_host: bool) -> str:
    """`host`, or the namespace as /proc shows it."""
    return "host" if is_host else f"net:[{inode}]"


def find_namespaces(host: HostPaths) -> list[Namespace]:
    """Every one, the host's first. A process whose namespace is closed to us is in the host's."""
    own = netns_inode(host)
    hosts = host_network_inode(host)
    paths: dict[int, list[Path]] = {}
    if own is not None:
        paths[own] = [host.proc / "self" / "ns" / "net"]
    for pid in process_ids(host):
        inode = netns_inode(host, pid)
        if inode is not None:
            ways = paths.setdefault(inode, [])
            if len(ways) < 3:  # the first process may end before we are there
                ways.append(host.process(pid) / "ns" / "net")
    for inode, path in named_namespaces(host):
        paths.setdefault(inode, []).append(path)
    found = [Namespace(inode, tuple(ways), inode == hosts) for inode, ways in paths.items()]
    return sorted(found, key=lambda one: (not one.is_host, one.inode))


def named_namespaces(host: HostPaths) -> Iterator[tuple[int, Path]]:
    """Inode and mount point of each that is bind-mounted, as `ip netns add` does it."""
    for line in host.mountinfo.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.startswith("nsfs ") and fields[3].startswith("net:["):
            yield int(fields[3][5:-1]), Path(_unescaped(fields[4]))


def _unescaped(text: str) -> str:
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", character)
    return text


@contextlib.contextmanager
def entered(namespace: Namespace, host: HostPaths) -> Iterator[None]:
    """This thread inside the namespace; KernelError where it may not be entered. To be where it is
    already takes no privilege."""
    home = os.open(host.proc / "thread-self" / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(home).st_ino == namespace.inode:
            yield
            return
        there = _open(namespace)
        try:
            _set(there, namespace)
            yield
        finally:
            os.close(there)
            _set(home, namespace)
    finally:
        os.close(home)


def local_ports(host: HostPaths) -> tuple[int, int]:
    """First and last port that the kernel picks in this thread's namespace; proc(5)."""
    path = host.proc / "sys" / "net" / "ipv4" / "ip_local_port_range"
    try:
        first, last = map(int, path.read_text().split())
    except (OSError, ValueError):
        return LOCAL_PORTS
    return first, last


def _open(namespace: Namespace) -> int:
    reason, is_gone = "it is gone", True
    for path in namespace.paths:
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            reason, is_gone = err.strerror or str(err), err.errno in GONE
            continue
        if os.fstat(opened).st_ino == namespace.inode:
            return opened
        os.close(opened)  # the process has moved, or the name means another one now
    kind = NamespaceGone if is_gone else KernelError
    raise kind(f"cannot enter {namespace.name}: {reason}")


def _set(opened: int, namespace: Namespace) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(opened, CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelError(f"cannot enter {namespace.name}: {reason}")
