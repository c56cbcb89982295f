"""Namespaces of the process that binds, and what is set in them. Standard library only."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from pathlib import Path

from socket_steps import libc

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40
NAMESPACES = {"net": CLONE_NEWNET, "user": 0x10000000, "cgroup": 0x02000000}


def enter_own_network() -> None:
    """A new network namespace: every address and port number may be bound, nobody else is there."""
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP_RUNNING))
    set_sysctl("ipv4/ip_unprivileged_port_start", "0")
    set_sysctl("ipv4/ip_nonlocal_bind", "1")
    set_sysctl("ipv6/ip_nonlocal_bind", "1")


def set_sysctl(name: str, value: str) -> None:
    """Write below /proc/sys/net of this process's network namespace."""
    Path("/proc/sys/net", name).write_text(value)


def sysctl(name: str, value: str) -> int:
    """Set one; the errno where the kernel refuses."""
    try:
        set_sysctl(name, value)
    except OSError as err:
        return err.errno or errno.EIO
    return 0


def unshare(what: list[str]) -> int:
    """Go into new namespaces; the errno where the kernel refuses."""
    flags = sum(NAMESPACES[name] for name in what)
    return 0 if libc.unshare(flags) == 0 else ctypes.get_errno()


def join_network(pid: int) -> int:
    """Go into the network namespace of another process."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        return 0 if libc.setns(namespace.fileno(), CLONE_NEWNET) == 0 else ctypes.get_errno()
