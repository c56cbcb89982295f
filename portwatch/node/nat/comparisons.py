"""Which connections have what an expression compares with."""

from __future__ import annotations

import sys

from portwatch.node.nat.registers import (
    ADDRESS,
    FAMILY,
    LOCALITY,
    PORT,
    PROTOCOL,
    WORD,
    Loaded,
)
from portwatch.node.nat.traffic import NOTHING, Addresses, Traffic
from portwatch.node.nat.xt import UNTOLD

EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = range(6)  # NFT_CMP_*
LOCAL = 2  # RTN_LOCAL
VERSION_OF = {2: 4, 10: 6}  # NFPROTO_* → IP version


def compared(part: Loaded, operation: int, value: bytes) -> Traffic:
    """Those for which one NFT_CMP_* with the value holds."""
    if operation == EQUAL:
        return equal(part, value)
    if part.what == PORT and operation != NOT_EQUAL:
        port = int.from_bytes(value)
        first, last = {
            LESS: (0, port - 1),
            LESS_EQUAL: (0, port),
            GREATER: (port + 1, 65535),
            GREATER_EQUAL: (port, 65535),
        }[operation]
        return Traffic(ports=((first, last),) if first <= last else ())
    if part.what == LOCALITY and operation == NOT_EQUAL and is_local(value):
        return NOTHING  # what is sent to this machine is never meant
    return UNTOLD


def is_local(value: bytes) -> bool:
    """Whether an address type is that of this machine's own addresses."""
    return int.from_bytes(value[:WORD], sys.byteorder) == LOCAL


def equal(part: Loaded, value: bytes, end: bytes = b"") -> Traffic:
    """What has the value, or one from it to `end`."""
    last = end or value
    if part.what == PORT:
        return Traffic(ports=((int.from_bytes(value[:2]), int.from_bytes(last[:2])),))
    if part.what == PROTOCOL:
        return Traffic(protocols=frozenset(range(value[0], last[0] + 1)))
    if part.what == FAMILY and value[0] in VERSION_OF:
        return Traffic(frozenset((VERSION_OF[value[0]],)))
    if part.what == ADDRESS:
        return Traffic(addresses=(_addresses(part, value, last),))
    if part.what == LOCALITY and is_local(value):
        return Traffic()
    return UNTOLD


def _addresses(part: Loaded, value: bytes, last: bytes) -> Addresses:
    """iptables loads no more of an address than the whole bytes of its prefix."""
    size = 4 if part.size <= 4 else 16
    bits = int.from_bytes(part.mask).bit_count() if part.mask else 8 * part.size
    if last != value:
        family = 4 if size == 4 else 6
        return Addresses(family, int.from_bytes(value[:size]), int.from_bytes(last[:size]))
    return Addresses.of(value[:size].ljust(size, b"\0"), bits)
