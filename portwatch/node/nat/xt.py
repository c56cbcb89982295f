"""Matches and targets of iptables' extensions, which both packet filters hand out as they are in
the kernel: linux/netfilter/xt_*.h and nf_nat.h."""

from __future__ import annotations

import socket
import struct

from portwatch.node.nat.traffic import NOTHING, Range, Traffic

PORTS = struct.Struct("=4H")  # xt_tcp, xt_udp: source and destination; xt_sctp: the reverse
TCP_INVERTED, UDP_INVERTED = 11, 8  # where the flags are that turn ports round
INVERTED_DESTINATION = 2  # XT_TCP_INV_DSTPT, XT_UDP_INV_DSTPT
SCTP_INVERTED, SCTP_FLAGS = 280, 276  # xt_sctp_info after its chunk map
SCTP_DESTINATION = 2  # XT_SCTP_DEST_PORTS

MULTIPORT = struct.Struct("=BB15H15sB")  # xt_multiport_v1
MULTIPORT_SOURCE = 0

MAP_ADDRESS, MAP_PORT = 1, 2  # NF_NAT_RANGE_*
ALL_PORTS = (0, 65535)
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
UNTOLD = Traffic(whole=False)
"""A match whose condition is not known here."""

ADDRTYPE = struct.Struct("=HHI")  # xt_addrtype_info_v1; before it the flag had a word of its own
ADDRTYPE_LOCAL, ADDRTYPE_INVERTED = 4, 2


def match_traffic(name: str, info: bytes) -> Traffic:
    """What a match lets pass. struct.error where `info` is too short for it."""
    if name in PROTOCOLS:
        protocols = frozenset((PROTOCOLS[name],))
        ports = _ports(name, info)
        if ports is None:
            return Traffic(protocols=protocols, whole=False)
        return Traffic(protocols=protocols, ports=None if ports == ALL_PORTS else (ports,))
    if name == "multiport":
        return _multiport(info)
    if name == "addrtype":
        return _addrtype(info)
    return Traffic() if name == "comment" else UNTOLD


def _addrtype(info: bytes) -> Traffic:
    """That the destination is this machine is asked for in any case."""
    source, destined, flags = ADDRTYPE.unpack_from(info)
    if destined & ADDRTYPE_LOCAL and flags & ADDRTYPE_INVERTED:
        return NOTHING
    return Traffic(whole=not source)


def _ports(name: str, info: bytes) -> Range | None:
    """Destination ports; None where they are those that do not match."""
    first = PORTS.unpack_from(info)
    if name == "sctp":
        flags, inverted = struct.unpack_from(
            "=II", info.ljust(SCTP_INVERTED + 4, b"\0"), SCTP_FLAGS
        )
        ports = (first[0], first[1]) if flags & SCTP_DESTINATION else ALL_PORTS
        return None if inverted & SCTP_DESTINATION else ports
    inverted = info[TCP_INVERTED if name == "tcp" else UDP_INVERTED]
    return None if inverted & INVERTED_DESTINATION else (first[2], first[3])


def _multiport(info: bytes) -> Traffic:
    flags, count, *rest = MULTIPORT.unpack_from(info)
    ports, is_first, inverted = rest[:15], rest[15], rest[16]
    if flags == MULTIPORT_SOURCE or inverted:
        return UNTOLD
    ranges, number = [], 0
    while number < min(count, len(ports)):
        last = number + 1 if is_first[number] and number + 1 < len(ports) else number
        ranges.append((ports[number], ports[last]))
        number = last + 1
    return Traffic(ports=tuple(ranges))


def comment_of(name: str, info: bytes) -> str:
    """The text of a comment; empty where the match is another."""
    return info.split(b"\0", 1)[0].decode("utf-8", "replace") if name == "comment" else ""


def target_text(name: str, revision: int, info: bytes, family: int) -> str | None:
    """Where DNAT and REDIRECT send a packet; None where the target is another one.

    struct.error where `info` is too short for it.
    """
    if name not in ("DNAT", "REDIRECT"):
        return None
    if family == 4 and revision < 2:  # nf_nat_ipv4_multi_range_compat, of one range
        _, flags, address, _, first, last = struct.unpack_from("=II4s4s2s2s", info)
    else:
        flags, address, _, first, last = struct.unpack_from("=I16s16s2s2s", info)
        address = address[:4] if family == 4 else address
    return destination(
        address if flags & MAP_ADDRESS and name == "DNAT" else b"",
        int.from_bytes(first) if flags & MAP_PORT else 0,
        int.from_bytes(last) if flags & MAP_PORT else 0,
    )


def destination(address: bytes, first: int, last: int = 0) -> str:
    """As people write it; no address: this machine; port 0: the one it came for."""
    host = ""
    if address:
        host = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
    if not first:
        return host
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{first}" + (f"-{last}" if last > first else "")
