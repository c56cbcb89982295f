"""The NAT rules of nf_tables, which `nft` and `iptables-nft` write: dumps over netlink.

Needs CAP_NET_ADMIN in the namespace's user namespace. The messages are those of
linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from portwatch.node.nat.expressions import rule_branches
from portwatch.node.nat.netlink import (
    NETLINK_NETFILTER,
    Attributes,
    Refused,
    attributes,
    dump,
    each_attribute,
    number,
    text,
)
from portwatch.node.nat.rules import Branch, NatTable
from portwatch.node.nat.sets import MapElement, Maps, NftMap
from portwatch.node.paths import HostPaths

SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
GET_CHAIN, GET_RULE, GET_ELEMENTS = 4, 7, 13  # NFT_MSG_GET*
GENERAL = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
FAMILIES = {1: (4, 6), 2: (4,), 10: (6,)}  # NFPROTO_INET, _IPV4, _IPV6 → IP versions
PRE_ROUTING = 0
UNSIGNED_BITS = 1 << 32

CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 1, 3, 4, 7
HOOK_NUMBER, HOOK_PRIORITY = 1, 2
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA = 1, 2, 4, 7
LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
ELEMENT_KEY, ELEMENT_DATA, ELEMENT_FLAGS, ELEMENT_KEY_END = 1, 2, 3, 10
COMMENT = 0  # of a rule's user data, as libnftnl and iptables write it

ABSENT = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
"""What a kernel without nf_tables says."""


def nft_tables(host: HostPaths) -> list[NatTable]:
    """Those of this thread's network namespace that translate addresses of incoming packets, with
    the entry that comes first at the head. Refused where they may not be read."""
    if _is_unloaded(host):
        return []
    try:
        entries = _entries()
        if not entries:
            return []
        rules = dump(NETLINK_NETFILTER, SUBSYSTEM | GET_RULE, GENERAL.pack(0, 0, 0))
    except Refused as err:
        if err.number in ABSENT:
            return []
        raise
    by_place: dict[tuple[int, str, str], list[Attributes]] = defaultdict(list)
    for body in rules:
        fields = attributes(body[GENERAL.size :])
        place = body[0], text(fields.get(RULE_TABLE)), text(fields.get(RULE_CHAIN))
        by_place[place].append(fields)
    return [_table(family, name, chains, by_place) for (family, name), chains in entries.items()]


def _table(
    family: int,
    name: str,
    entries: list[str],
    rules: Mapping[tuple[int, str, str], list[Attributes]],
) -> NatTable:
    maps = _Maps(family, name)

    def read(chain: str) -> list[Branch]:
        return [
            branch
            for fields in rules.get((family, name, chain), ())
            for branch in _branches(fields, family, maps)
        ]

    return NatTable(name, entries, read)


def _branches(rule: Attributes, family: int, maps: Maps) -> list[Branch]:
    expressions = [attributes(one) for _, one in each_attribute(rule.get(RULE_EXPRESSIONS, b""))]
    comment = rule_comment(rule.get(RULE_USERDATA, b""))
    return branches_of(expressions, FAMILIES[family], maps, comment)


def branches_of(
    expressions: Iterable[Attributes], versions: Iterable[int], maps: Maps, comment: str = ""
) -> list[Branch]:
    """All that a rule does. Refused where it is no rule."""
    try:
        return rule_branches(expressions, versions, maps, comment)
    except (struct.error, IndexError, ValueError) as err:
        raise Refused("nf_tables: a rule was cut short", 0) from err


def _is_unloaded(host: HostPaths) -> bool:
    """Whether nf_tables is a module that nobody has loaded yet: to ask would load it."""
    try:
        loaded = (host.proc / "modules").read_text()
    except OSError:
        return False  # a kernel without modules
    if any(line.startswith("nf_tables ") for line in loaded.splitlines()):
        return False
    return _is_module(os.uname().release)


def _is_module(release: str) -> bool:
    """Whether it is one in this kernel; False where neither file says so."""
    with contextlib.suppress(OSError):
        return "\nCONFIG_NF_TABLES=m" in Path(f"/boot/config-{release}").read_text()
    with contextlib.suppress(OSError):
        return "/nf_tables.ko" not in Path(f"/lib/modules/{release}/modules.builtin").read_text()
    return False


def _entries() -> dict[tuple[int, str], list[str]]:
    """(family, table) → the chains that incoming packets enter for NAT, by priority."""
    found: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    for body in dump(NETLINK_NETFILTER, SUBSYSTEM | GET_CHAIN, GENERAL.pack(0, 0, 0)):
        fields = attributes(body[GENERAL.size :])
        if body[0] not in FAMILIES or text(fields.get(CHAIN_TYPE)) != "nat":
            continue
        hook = attributes(fields.get(CHAIN_HOOK, b""))
        if HOOK_NUMBER in hook and number(hook[HOOK_NUMBER]) == PRE_ROUTING:
            priority = number(hook.get(HOOK_PRIORITY))
            signed = priority - UNSIGNED_BITS if priority >> 31 else priority
            place = body[0], text(fields.get(CHAIN_TABLE))
            found[place].append((signed, text(fields.get(CHAIN_NAME))))
    by_priority = sorted(found.items(), key=lambda entry: min(entry[1])[0])
    return {place: [name for _, name in sorted(chains)] for place, chains in by_priority}


class _Maps:
    """The sets and maps of one table, each read when a rule looks into it."""

    def __init__(self, family: int, table: str) -> None:
        self._family = family
        self._table = table
        self._known: dict[str, NftMap] = {}

    def __call__(self, name: str) -> NftMap:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> NftMap:
        request = GENERAL.pack(self._family, 0, 0)
        request += _string(LIST_TABLE, self._table) + _string(LIST_SET, name)
        try:
            bodies = dump(NETLINK_NETFILTER, SUBSYSTEM | GET_ELEMENTS, request)
        except Refused as err:
            if err.number == errno.ENOENT:  # gone meanwhile, with its rules
                return []
            raise
        return [
            _element(attributes(one))
            for body in bodies
            for _, one in each_attribute(attributes(body[GENERAL.size :]).get(LIST_ELEMENTS, b""))
        ]


def _element(fields: Attributes) -> MapElement:
    return MapElement(
        _value(fields.get(ELEMENT_KEY)),
        _value(fields.get(ELEMENT_KEY_END)),
        attributes(fields.get(ELEMENT_DATA, b"")),
        number(fields.get(ELEMENT_FLAGS)),
    )


def _value(data: bytes | None) -> bytes:
    return attributes(data).get(1, b"") if data else b""


def _string(kind: int, value: str) -> bytes:
    data = value.encode() + b"\0"
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)


def rule_comment(data: bytes) -> str:
    """The comment among a rule's user data, which is type, length, value; empty without one."""
    start = 0
    while start + 2 <= len(data):
        kind, size = data[start], data[start + 1]
        if kind == COMMENT:
            return text(data[start + 2 : start + 2 + size])
        start += 2 + size
    return ""
