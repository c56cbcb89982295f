"""The kernel's own list of sockets, by sock_diag(7): one network namespace, no /proc/net.

Speaks netlink from the standard library alone (docs/dependencies.md says why); must not know
processes or policies. The structures are those of linux/inet_diag.h and linux/sock_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from portwatch.errors import KernelError

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "udplite": 136}
FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}  # family → bytes of an address

CLOSE, LISTEN, BOUND_INACTIVE = 7, 10, 13  # TCP_*; UDP sockets without a peer are in CLOSE
ALL_STATES = (1 << BOUND_INACTIVE + 1) - 2  # the last is since 6.8; older kernels ignore it

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
SKV6ONLY, CGROUP_ID = 11, 21  # INET_DIAG_*; the second since 5.9
RECEIVE_BYTES = 1 << 16  # the kernel fills at most 32 KiB
TIMEOUT_SECONDS = 5.0

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
ERROR = struct.Struct("=i")
U64 = struct.Struct("=Q")
# family protocol ext pad states | ports, addresses, interface, cookie (none: no filter)
REQUEST = struct.Struct("=BBBBI2s46s")
# family state timer retrans | ports, addresses, interface, cookie | expires, queues, uid, inode
MESSAGE = struct.Struct("=BBBB2s2s16s16sIQIIIII")


class DiagSocket(NamedTuple):
    """One socket. `inode` 0: no file stands for it, as in time-wait; `cgroup_id` 0: not told."""

    family: int
    state: int
    address: bytes  # 4 or 16, network order
    port: int
    peer_port: int
    cookie: int
    uid: int
    inode: int
    v6only: bool
    cgroup_id: int


def open_diag() -> socket.socket:
    """A socket that asks about the network namespace that this thread is in, for good."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    opened.settimeout(TIMEOUT_SECONDS)
    return opened


def dump(diag: socket.socket, protocol: str, states: int, port: int = 0) -> Iterator[DiagSocket]:
    """Sockets of both families in `states` (bits), of one local port or of all (0).

    Each socket once. KernelError where the kernel cannot list that protocol.
    """
    seen = set()
    for family in FAMILIES:
        number = PROTOCOL_NUMBERS[protocol]
        ports_and_rest = REQUEST.pack(family, number, 0, 0, states, port.to_bytes(2), bytes(46))
        length = HEADER.size + len(ports_and_rest)
        header = HEADER.pack(length, SOCK_DIAG_BY_FAMILY, DUMP, family, 0)
        try:
            diag.sendto(header + ports_and_rest, (0, 0))
            for found in _answer(diag):
                # The kernel does not look at the port of sockets that are bound and no more.
                if found.port and port in (0, found.port) and found.cookie not in seen:
                    seen.add(found.cookie)
                    yield found
        except OSError as err:
            reason = os.strerror(err.errno) if err.errno else str(err)
            raise DiagRefused(f"cannot list {protocol} sockets: {reason}", err.errno or 0) from err


class DiagRefused(KernelError):
    """The kernel does not list these sockets; `number` is its errno, 0 where there is none."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def _answer(diag: socket.socket) -> Iterator[DiagSocket]:
    whole = False
    while not whole:
        data, _, flags, sender = diag.recvmsg(RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise KernelError("sock_diag: an answer was cut short")
        if sender[0] == 0:  # from the kernel, not from another process
            found, whole = parse_answer(data)
            yield from found


def parse_answer(data: bytes) -> tuple[list[DiagSocket], bool]:
    """What one datagram holds, and whether the dump ends with it.

    OSError where the kernel says that it failed; KernelError where it is no such answer.
    """
    found: list[DiagSocket] = []
    start = 0
    while start < len(data):
        if len(data) - start < HEADER.size:
            raise KernelError("sock_diag: a header was cut short")
        length, kind, _, _, _ = HEADER.unpack_from(data, start)
        end = start + length
        if length < HEADER.size or end > len(data):
            raise KernelError(f"sock_diag: a message says {length} bytes, which it has not")
        if kind in (NLMSG_DONE, NLMSG_ERROR):
            code = ERROR.unpack_from(data, start + HEADER.size)[0] if length >= 20 else 0
            if code:
                raise OSError(-code, os.strerror(-code))
            return found, True
        if kind == SOCK_DIAG_BY_FAMILY:
            found.append(_socket(data, start + HEADER.size, end))
        start += (length + 3) & ~3
    return found, False


def _socket(data: bytes, start: int, end: int) -> DiagSocket:
    position = start + MESSAGE.size
    if position > end or data[start] not in FAMILIES:
        raise KernelError("sock_diag: a message is no inet socket")
    (family, state, _, _, port, peer, source, _, _, cookie, _, _, _, uid, inode) = (
        MESSAGE.unpack_from(data, start)
    )
    v6only, cgroup_id = False, 0
    while position + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(data, position)
        if length < ATTRIBUTE.size or position + length > end:
            raise KernelError("sock_diag: an attribute is longer than its message")
        if kind == SKV6ONLY:
            v6only = length > ATTRIBUTE.size and data[position + ATTRIBUTE.size] != 0
        elif kind == CGROUP_ID and length == ATTRIBUTE.size + U64.size:
            (cgroup_id,) = U64.unpack_from(data, position + ATTRIBUTE.size)
        position += (length + 3) & ~3
    address = source[: FAMILIES[family]]
    ports = int.from_bytes(port), int.from_bytes(peer)
    return DiagSocket(family, state, address, *ports, cookie, uid, inode, v6only, cgroup_id)
