"""Netlink requests whose answers are attributes: dumps of nf_tables and of addresses.

Must not know what the attributes mean. The structures are those of linux/netlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from portwatch.errors import KernelError

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
DUMP_INTR = 0x10
ATTEMPTS = 5
TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK: without "nested" and "network order"
RECEIVE_BYTES = 1 << 17
TIMEOUT_SECONDS = 5.0

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
ERROR = struct.Struct("=i")

Attributes = dict[int, bytes]


class Refused(KernelError):
    """The kernel does not answer; `number` is its errno, 0 where there is none."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class _Changed(Exception):
    """What was listed changed meanwhile."""


def dump(protocol: int, kind: int, payload: bytes) -> list[bytes]:
    """Every message of one dump in this thread's network namespace, without its header.

    Asked again where it changed meanwhile; Refused where the kernel says no.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as opened:
            opened.settimeout(TIMEOUT_SECONDS)
            for sequence in range(1, ATTEMPTS + 1):
                header = HEADER.pack(HEADER.size + len(payload), kind, DUMP, sequence, 0)
                opened.sendto(header + payload, (0, 0))
                messages, whole = _answer(opened, sequence)
                if whole:
                    return messages
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        raise Refused(f"the kernel does not list it: {reason}", err.errno or 0) from err
    raise Refused("it changes faster than it can be listed", 0)


def _answer(opened: socket.socket, sequence: int) -> tuple[list[bytes], bool]:
    messages: list[bytes] = []
    whole = True
    while True:
        data, _, flags, sender = opened.recvmsg(RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise Refused("an answer was cut short", 0)
        if sender[0] != 0:  # not from the kernel
            continue
        for kind, flags, number, body in parse_messages(data):
            if number != sequence:
                continue
            whole = whole and not flags & DUMP_INTR
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                code = ERROR.unpack_from(body)[0] if len(body) >= ERROR.size else 0
                if code:
                    raise OSError(-code, os.strerror(-code))
                return messages, whole
            messages.append(body)


def parse_messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message of a datagram; Refused where it is
    none."""
    start = 0
    while start < len(data):
        if len(data) - start < HEADER.size:
            raise Refused("a header was cut short", 0)
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size or start + length > len(data):
            raise Refused(f"a message says {length} bytes, which it has not", 0)
        yield kind, flags, sequence, data[start + HEADER.size : start + length]
        start += (length + 3) & ~3


def attributes(data: bytes) -> Attributes:
    """Type → bytes, the last of each type; Refused where they are none."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The same in order, for lists, whose items are all of one type."""
    start = 0
    while start < len(data):
        if len(data) - start < ATTRIBUTE.size:
            raise Refused("an attribute was cut short", 0)
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > len(data):
            raise Refused(f"an attribute says {length} bytes, which it has not", 0)
        yield kind & TYPE_MASK, data[start + ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3


def number(data: bytes | None) -> int:
    """An unsigned number in network order; 0 where there is none."""
    return int.from_bytes(data or b"")


def text(data: bytes | None) -> str:
    """A string that ends with its NUL; empty where there is none."""
    return (data or b"").split(b"\0", 1)[0].decode("utf-8", "replace")
