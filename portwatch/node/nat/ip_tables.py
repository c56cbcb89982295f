"""The NAT rules of ip_tables, which `iptables-legacy` writes: getsockopt() on any inet socket.

Asks only where the namespace has such a table: asking would make one.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from portwatch.node.nat.netlink import Refused
from portwatch.node.nat.rules import DNAT, FINAL, GOTO, JUMP, RETURN, Branch, NatTable
from portwatch.node.nat.traffic import Addresses, Traffic
from portwatch.node.nat.xt import comment_of, match_traffic, target_text
from portwatch.node.paths import HostPaths

GET_INFO, GET_ENTRIES = 64, 65  # IPT_SO_*, IP6T_SO_*
INFO = struct.Struct("=32sI5I5III")  # ipt_getinfo
ENTRIES_HEADER = 40  # ipt_get_entries: name, size, and the entries aligned to 8
PRE_ROUTING = 0
F_GOTO, INVERTED_ADDRESS, INVERTED_PROTOCOL = 2, 0x10, 0x40
HEAD = struct.Struct("=H29sB")  # of xt_entry_match and xt_entry_target: size, name, revision
STANDARD_RETURN = -5


@dataclass(frozen=True)
class _Version:
    """What differs between the two: names, and where things lie in an entry."""

    family: int
    level: int
    names: str
    address_bytes: int
    protocol_at: int
    flags_at: int
    inverted_at: int
    offsets_at: int
    entry_bytes: int


VERSIONS = (
    _Version(4, socket.IPPROTO_IP, "ip_tables_names", 4, 80, 82, 83, 88, 112),
    _Version(6, socket.IPPROTO_IPV6, "ip6_tables_names", 16, 128, 131, 132, 140, 168),
)


def legacy_tables(host: HostPaths) -> list[NatTable]:
    """Those of this thread's network namespace. Refused where they may not be read."""
    found = []
    for version in VERSIONS:
        names = host.proc / "thread-self" / "net" / version.names
        try:
            has_nat = "nat" in names.read_text().split()
        except FileNotFoundError:
            continue
        except OSError as err:
            raise Refused(f"{names}: {err.strerror}", err.errno or 0) from err
        if has_nat:
            found.append(parse_table(*_entries(version), version))
    return found


def _entries(version: _Version) -> tuple[int, bytes]:
    """Where incoming packets enter, and all entries."""
    family = socket.AF_INET if version.family == 4 else socket.AF_INET6
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(family, socket.SOCK_DGRAM) as opened:

        def ask(option: int, request: bytes) -> bytes:
            buffer = ctypes.create_string_buffer(request, len(request))
            length = ctypes.c_uint32(len(request))
            result = libc.getsockopt(
                opened.fileno(), version.level, option, buffer, ctypes.byref(length)
            )
            if result:
                number = ctypes.get_errno()
                raise Refused(f"ip_tables: {os.strerror(number)}", number)
            return buffer.raw[: length.value]

        answer = ask(GET_INFO, b"nat".ljust(INFO.size, b"\0"))
        fields = INFO.unpack(answer)
        size = fields[-1]
        request = b"nat".ljust(32, b"\0") + struct.pack("=I", size)
        answer = ask(GET_ENTRIES, request.ljust(ENTRIES_HEADER + size, b"\0"))
    return fields[2 + PRE_ROUTING], answer[ENTRIES_HEADER:]


def parse_table(start: int, entries: bytes, version: _Version) -> NatTable:
    """The table whose PREROUTING begins at `start`. Refused where the entries are none."""
    names: dict[int, str] = {start: "PREROUTING"}
    rules: list[tuple[int, Branch]] = []
    try:
        for offset, entry in _each(entries, version):
            target_at, _ = struct.unpack_from("=HH", entry, version.offsets_at)
            _, name, _ = HEAD.unpack_from(entry, target_at)
            if name.rstrip(b"\0") == b"ERROR":  # the head of a chain: its name
                label = entry[target_at + HEAD.size :].split(b"\0", 1)[0]
                names[offset + len(entry)] = label.decode("utf-8", "replace")
            else:
                rules.append((offset, _branch(entry, version, target_at)))
    except (struct.error, IndexError, ValueError) as err:
        raise Refused("ip_tables: an entry was cut short", 0) from err
    chains: dict[str, list[Branch]] = {}
    chain = ""
    for offset, branch in rules:
        chain = names.get(offset, chain)
        if branch.action in (JUMP, GOTO):
            branch = branch._replace(to=names.get(int(branch.to), ""))
        chains.setdefault(chain, []).append(branch)
    return NatTable("nat", ["PREROUTING"], lambda name: chains.get(name, []))


def _each(entries: bytes, version: _Version) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(entries):
        _, size = struct.unpack_from("=HH", entries, offset + version.offsets_at)
        if size < version.entry_bytes or offset + size > len(entries):
            raise Refused("ip_tables: an entry is longer than the table", 0)
        yield offset, entries[offset : offset + size]
        offset += size


def _branch(entry: bytes, version: _Version, target_at: int) -> Branch:
    traffic: Traffic | None = _head_traffic(entry, version)
    comment = ""
    for name, _, info in _extensions(entry, version.entry_bytes, target_at):
        comment = comment or comment_of(name, info)
        traffic = traffic.narrowed(match_traffic(name, info)) if traffic else None
    ((name, revision, info),) = _extensions(entry, target_at, len(entry))
    if traffic is None:  # conditions that nothing meets
        return Branch(Traffic(ports=(), whole=False), FINAL)
    if name == "":
        (verdict,) = struct.unpack_from("=i", info)
        if verdict >= 0:
            goes = entry[version.flags_at] & F_GOTO
            return Branch(traffic, GOTO if goes else JUMP, str(verdict), comment)
        return Branch(traffic, RETURN if verdict == STANDARD_RETURN else FINAL)
    sent_to = target_text(name, revision, info, version.family)
    if sent_to is None:  # a target that changes something, and most often goes on
        return Branch(traffic._replace(whole=False), FINAL)
    return Branch(traffic, DNAT, sent_to, comment)


def _head_traffic(entry: bytes, version: _Version) -> Traffic:
    size = version.address_bytes
    address, source_mask, mask = (entry[size * n : size * (n + 1)] for n in (1, 2, 3))
    interfaces = entry[size * 4 + 32 : size * 4 + 64]
    inverted = entry[version.inverted_at]
    (protocol,) = struct.unpack_from("=H", entry, version.protocol_at)
    whole = not any(source_mask) and not any(interfaces) and not inverted
    addresses = None
    if any(mask) and not inverted & INVERTED_ADDRESS:
        addresses = (Addresses.of(address, int.from_bytes(mask).bit_count()),)
    protocols = None
    if protocol and not inverted & INVERTED_PROTOCOL:
        protocols = frozenset((protocol,))
    return Traffic(frozenset((version.family,)), protocols, None, addresses, whole)


def _extensions(entry: bytes, start: int, end: int) -> Iterator[tuple[str, int, bytes]]:
    while start < end:
        size, name, revision = HEAD.unpack_from(entry, start)
        if size < HEAD.size or start + size > end:
            raise Refused("ip_tables: a match is longer than its entry", 0)
        label = name.split(b"\0", 1)[0].decode("utf-8", "replace")
        yield label, revision, entry[start + HEAD.size : start + size]
        start += size
