"""Ports that NAT takes away from whatever binds them: the rules walked as a packet would.

What is sent to such a port from outside goes to the rule's target, and never to a socket here.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from portwatch.errors import KernelError
from portwatch.node.nat.ip_tables import legacy_tables
from portwatch.node.nat.netlink import NETLINK_ROUTE, attributes, dump
from portwatch.node.nat.nf_tables import nft_tables
from portwatch.node.nat.rules import DNAT, FINAL, GOTO, JUMP, RETURN, Branch, NatTable
from portwatch.node.nat.traffic import ALL_BITS, Addresses, Traffic
from portwatch.node.paths import HostPaths

PROTOCOL_NAMES = {6: "tcp", 17: "udp", 132: "sctp", 136: "udplite"}
MAX_STEPS = 200_000
MAX_DEPTH = 16  # as deep as iptables' own jumps may go
MAX_FOUND = 16384
GET_ADDRESSES = 22  # RTM_GETADDR
ADDRESS_MESSAGE = struct.Struct("=BBBBi")  # ifaddrmsg
LOCAL_ADDRESS, ANY_ADDRESS = 2, 1  # IFA_LOCAL, IFA_ADDRESS

SOURCES = (
    ("kubelet", r"KUBE-HOSTPORT"),
    ("kube-proxy", r"KUBE-|kube-proxy$|nodeport"),
    ("podman", r"NETAVARK|netavark$|nv_"),
    ("cni-portmap", r"CNI-|cni_hostport$"),
    ("docker", r"DOCKER|docker-bridges$"),
    ("firewalld", r"nat_PRE|firewalld$"),
    ("libvirt", r"LIBVIRT"),
)
"""Who writes rules is told by what the chains on the way, or the table, are called."""

OTHER_SOURCE = "nat"


@dataclass(frozen=True, slots=True)
class Published:
    """Ports `first` to `last` of which NAT takes what comes in.

    `families`: IP versions; `address`: of this machine, or None for all of them. `target`:
    `ADDRESS:PORT`, `ADDRESS` for the same port, or `:PORT` for another of this machine; `more`:
    further targets. `rule`: the chain whose rule names the port; `comment`: what that rule's author
    wrote.
    """

    protocol: str
    families: tuple[int, ...]
    address: str | None
    first: int
    last: int
    source: str
    target: str
    rule: str
    comment: str = ""
    more: int = 0


def read_published(host: HostPaths) -> list[Published]:
    """Those of this thread's network namespace, by port. KernelError where the rules may not be
    read."""
    tables = [*nft_tables(host), *legacy_tables(host)]
    return walk(tables, local_addresses()) if tables else []


def local_addresses() -> list[Addresses]:
    """Those of this thread's network namespace."""
    found = [Addresses.of(bytes((127, 0, 0, 0)), 8)]
    for body in dump(NETLINK_ROUTE, GET_ADDRESSES, ADDRESS_MESSAGE.pack(0, 0, 0, 0, 0)):
        fields = attributes(body[ADDRESS_MESSAGE.size :])
        address = fields.get(LOCAL_ADDRESS) or fields.get(ANY_ADDRESS)
        if address is not None and len(address) in (4, 16):
            found.append(Addresses.of(address))
    return found


def walk(tables: Iterable[NatTable], local: Iterable[Addresses]) -> list[Published]:
    """What these tables publish, on a machine with these addresses."""
    walker = _Walker(list(local))
    for table in tables:
        for chain in table.entries:
            walker.enter(table, chain)
    return sorted(walker.published(), key=lambda one: (one.first, one.protocol, one.address or ""))


Key = tuple[str, tuple[int, ...], str | None, int, int]


class _Way(NamedTuple):
    """How a chain was reached: the table and the chains, and the first rule that named ports."""

    path: tuple[str, ...]
    rule: str = ""
    comment: str = ""

    def through(self, chain: str, branch: Branch) -> _Way:
        if self.rule or branch.traffic.ports is None:
            return self
        service = branch.to if "/" in branch.to else ""  # kube-proxy's are called after it
        return self._replace(rule=chain, comment=branch.comment or service)


class _Walker:
    def __init__(self, local: list[Addresses]) -> None:
        self._local = local
        self._found: dict[Key, Published] = {}
        self._targets: dict[Key, set[str]] = {}
        self._steps = 0

    def enter(self, table: NatTable, chain: str) -> None:
        self._walk(table, chain, Traffic(), _Way((table.name,)))

    def published(self) -> Iterator[Published]:
        for key, one in self._found.items():
            targets = self._targets[key]
            yield replace(one, target=min(targets), more=len(targets) - 1)

    def _walk(self, table: NatTable, name: str, traffic: Traffic, way: _Way) -> bool:
        """Whether no packet of `traffic` comes back from the chain."""
        way = way._replace(path=(*way.path, name))
        for branch in table.branches(name):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise KernelError("the NAT rules are too many to follow")
            here = self._narrowed(traffic, branch)
            if here is None:
                continue
            ends = branch.action in (FINAL, DNAT)
            if branch.action == DNAT:
                self._take(here, branch.to, way.through(name, branch))
            elif branch.action in (JUMP, GOTO) and len(way.path) <= MAX_DEPTH:
                ends = self._walk(table, branch.to, here, way.through(name, branch))
            if branch.traffic.is_all and (ends or branch.action in (RETURN, GOTO)):
                return ends
        return False

    def _narrowed(self, traffic: Traffic, branch: Branch) -> Traffic | None:
        """None where nothing that is sent to this machine gets there."""
        here = traffic.narrowed(branch.traffic)
        if here is None or here.addresses is None or here.addresses == traffic.addresses:
            return here
        return here.narrowed(Traffic(addresses=tuple(self._local_in(here.addresses))))

    def _local_in(self, wanted: Iterable[Addresses]) -> Iterator[Addresses]:
        for one in wanted:
            if (one.first, one.last) == (0, (1 << ALL_BITS[one.family]) - 1):
                yield one
            else:
                yield from (a for a in self._local if _overlap(a, one))

    def _take(self, traffic: Traffic, target: str, way: _Way) -> None:
        for first, last in traffic.ports or ():
            for protocol in sorted(traffic.protocols or PROTOCOL_NAMES):
                name = PROTOCOL_NAMES.get(protocol)
                if name is None or not first:
                    continue
                for families, address in _places(traffic):
                    key = name, families, address, first, last
                    if key not in self._found and len(self._found) < MAX_FOUND:
                        source = source_of(way.path)
                        self._found[key] = Published(*key, source, target, way.rule, way.comment)
                        self._targets[key] = set()
                    if key in self._targets:
                        self._targets[key].add(target)


def _overlap(one: Addresses, other: Addresses) -> bool:
    return one.family == other.family and one.first <= other.last and other.first <= one.last


def _places(traffic: Traffic) -> Iterator[tuple[tuple[int, ...], str | None]]:
    """IP versions and the one address, None for all of them."""
    if traffic.addresses is None:
        yield tuple(sorted(traffic.families)), None
        return
    for one in traffic.addresses:
        if one.last - one.first + 1 == 1 << ALL_BITS[one.family]:
            yield (one.family,), None
        elif one.first == one.last:
            size, family = (4, socket.AF_INET) if one.family == 4 else (16, socket.AF_INET6)
            yield (one.family,), socket.inet_ntop(family, one.first.to_bytes(size))


def source_of(path: Iterable[str]) -> str:
    """Who wrote the rule that was reached on this path, from the table to the chain."""
    names = list(path)
    for source, pattern in SOURCES:
        if any(re.match(pattern, name) for name in names):
            return source
    return OTHER_SOURCE
