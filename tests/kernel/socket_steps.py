"""Sockets with names, and the steps that may be taken with them; part of the process that binds.

Standard library only: binder_process.py runs alone, and takes steps and gives answers as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import native_calls
import socket_passing
from socket_passing import sockets

IPPROTO_MPTCP = 262
IPPROTO_SCTP = 132
MANY_GROUPS = 10_000
REACHED_SECONDS = 2
LINGER_RESET = struct.pack("ii", 1, 0)  # a closed connection leaves no port behind

SOCKET_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "udplite": (socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE),
    "mptcp": (socket.SOCK_STREAM, IPPROTO_MPTCP),
    "sctp": (socket.SOCK_STREAM, IPPROTO_SCTP),
    "sctp-many": (socket.SOCK_SEQPACKET, IPPROTO_SCTP),
    "raw": (socket.SOCK_RAW, socket.IPPROTO_UDP),
    "icmp": (socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    "frames": (socket.SOCK_RAW, 0),
}
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "packet": socket.AF_PACKET}

libc = ctypes.CDLL(None, use_errno=True)


def take(name: str, steps: list[list[Any]]) -> dict[str, Any]:
    """Take steps with the socket `name` up to the first that fails; what the kernel said, and how
    the socket stands then."""
    error, failed = 0, ""
    for what, *arguments in steps:
        try:
            STEPS[what](name, *arguments)
        except OSError as err:
            error, failed = err.errno or -1, what
            break
    return {"error": error, "failed": failed} | stand(name)


def stand(name: str) -> dict[str, Any]:
    """Address and port of a socket, and whether it listens."""
    if name not in sockets:
        return {"address": "", "port": 0, "listening": False}
    sock = sockets[name]
    address, port = sock.getsockname()[:2]
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return {"address": address, "port": port, "listening": bool(listens)}


def descriptor(name: str) -> int:
    """The number of a socket."""
    return sockets[name].fileno()


def reached(names: list[str]) -> str:
    """Which of these sockets, of those that have a port, has something to read or accept."""
    bound_ones = [sockets[name] for name in names if stand(name)["port"]]
    ready, _, _ = select.select(bound_ones, [], [], REACHED_SECONDS)
    return " ".join(name for name in names if sockets.get(name) in ready)


def misuse() -> list[int]:
    """The errnos of binds that are none: no descriptor, no socket, no address, a negative size."""
    raw = struct.pack("=H14x", socket.AF_INET)
    errors = []
    with socket.socket() as sock, open(os.devnull) as file:
        nowhere = ctypes.c_void_p(1)
        for fd, address, length in (
            (-1, raw, len(raw)),
            (file.fileno(), raw, len(raw)),
            (sock.fileno(), nowhere, len(raw)),
            (sock.fileno(), raw, -1),
        ):
            assert libc.bind(fd, address, length) == -1
            errors.append(ctypes.get_errno())
    return errors


def forget(keep: list[str]) -> int:
    """Close all sockets but these."""
    for name in set(sockets) - set(keep):
        sockets.pop(name).close()
    return 0


def make(name: str, protocol: str, family: str) -> None:
    """A new socket."""
    sockets[name] = socket.socket(FAMILIES[family], *SOCKET_KINDS[protocol])


def set_option(name: str, level: int, option: int, value: int | str) -> None:
    """An option, a number or text."""
    raw = value.encode() if isinstance(value, str) else struct.pack("=I", value)
    sockets[name].setsockopt(level, option, raw)


def set_raw_option(name: str, level: int, option: int, value: str) -> None:
    """An option whose value is written in hex."""
    sockets[name].setsockopt(level, option, bytes.fromhex(value))


def packed(name: str, address: str, port: int) -> bytes:
    """The struct sockaddr of the socket's family."""
    family = sockets[name].family
    head = struct.pack("=H", family) + struct.pack(">H", port)
    if family == socket.AF_INET:
        return head + socket.inet_aton(address) + bytes(8)
    return head + bytes(4) + socket.inet_pton(family, address) + bytes(4)


def bind(name: str, address: str, port: int, via: str = "") -> None:
    """bind(), by the usual call or by another."""
    if via:
        native_calls.bind(sockets[name].fileno(), packed(name, address, port), via)
    else:
        sockets[name].bind((address, port))


def bind_as_before(name: str, address: str, port: int, user: int) -> None:
    """Become a user, and bind() with the credentials of before."""
    native_calls.bind_as_before(sockets[name].fileno(), packed(name, address, port), user)


def bind_raw(name: str, sockaddr: str) -> None:
    """bind() with these bytes, which Python's own does not allow."""
    raw = bytes.fromhex(sockaddr)
    if libc.bind(sockets[name].fileno(), raw, len(raw)) != 0:
        raise OSError(ctypes.get_errno(), "bind")


def listen(name: str, via: str = "") -> None:
    """listen(), by the usual call or by another."""
    if via:
        native_calls.listen(sockets[name].fileno(), via)
    else:
        sockets[name].listen(native_calls.BACKLOG)


def connect(name: str, address: str, port: int) -> None:
    """connect(), to be reset when closed."""
    sock = sockets[name]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    sock.connect((address, port))


def disconnect(name: str) -> None:
    """connect() to AF_UNSPEC."""
    raw = struct.pack("=H14x", socket.AF_UNSPEC)
    if libc.connect(sockets[name].fileno(), raw, len(raw)) != 0:
        raise OSError(ctypes.get_errno(), "connect")


def shut_down(name: str) -> None:
    """shutdown(SHUT_RD), which ends listening."""
    sockets[name].shutdown(socket.SHUT_RD)


def use_up_memory(name: str) -> None:
    """Join multicast groups until the kernel has no memory left for this (IPv6) socket."""
    loopback = struct.pack("=I", socket.if_nametoindex("lo"))
    for number in range(MANY_GROUPS):
        group = socket.inet_pton(socket.AF_INET6, f"ff02::{number:x}")
        try:
            sockets[name].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + loopback)
        except OSError as err:
            if err.errno in (errno.ENOMEM, errno.ENOBUFS):
                return
            raise
    raise OSError(errno.ERANGE, "there was memory for every group")


def accept(name: str, server: str) -> None:
    """The connection that waits at a listening socket."""
    sockets[name] = sockets[server].accept()[0]


def send_to(name: str, address: str, port: int) -> None:
    """One datagram."""
    sockets[name].sendto(b"x", (address, port))


def write(name: str) -> None:
    """One byte over a connection."""
    sockets[name].send(b"x")


def join_cgroup(_name: str, directory: str) -> None:
    """This process goes to that cgroup."""
    Path(directory, "cgroup.procs").write_text(str(os.getpid()))


STEPS: dict[str, Callable[..., None]] = {
    "socket": make,
    "option": set_option,
    "option raw": set_raw_option,
    "bind": bind,
    "bind raw": bind_raw,
    "bind as before": bind_as_before,
    "listen": listen,
    "connect": connect,
    "disconnect": disconnect,
    "shut down": shut_down,
    "accept": accept,
    "write": write,
    "use up memory": use_up_memory,
    "send": send_to,
    "join": join_cgroup,
    "pass": socket_passing.pass_to,
    "channel": socket_passing.open_channel,
    "receive": socket_passing.receive,
    "copy": socket_passing.copy_from,
}
