"""What the rules of nf_tables mean: their expressions, run over every connection at once.

An expression loads a part of the packet or a constant into registers, compares registers, looks
them up, or decides. What is not about port, protocol or address makes a rule's traffic not
`whole`, and is not looked at further.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from portwatch.node.nat.netlink import Attributes, attributes, number, text
from portwatch.node.nat.rules import DNAT, FINAL, GOTO, JUMP, RETURN, Branch
from portwatch.node.nat.traffic import Addresses, Range, Traffic
from portwatch.node.nat.xt import UNTOLD, comment_of, destination, match_traffic, target_text

EXPRESSION_NAME, EXPRESSION_DATA = 1, 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
VERDICTS = {-5: RETURN, -4: GOTO, -3: JUMP, -1: "", -2: ""}  # NFT_*; all else is final
EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = range(6)  # NFT_CMP_*
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
META_NFPROTO, META_L4PROTO = 15, 16
FIB_ADDRESS_TYPE, LOCAL = 3, 2  # NFT_FIB_RESULT_ADDRTYPE, RTN_LOCAL
NAT_DESTINATION = 1
INVERTED = 1  # NFT_LOOKUP_F_INV
INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END
REGISTER_BYTES, WORD = 16, 4
VERSION_OF = {2: 4, 10: 6}  # NFPROTO_* → IP version
ALWAYS = frozenset(("counter", "log", "limit", "masq", "notrack", "quota", "last", "objref"))

PROTOCOL, PORT, ADDRESS, FAMILY, LOCALITY, OTHER = range(6)
"""What a register can hold of a packet."""


class MapElement(NamedTuple):
    """One of a set, or of a map, which has `data`. `key_end`: the last of a range of tuples."""

    key: bytes
    key_end: bytes
    data: Attributes
    flags: int


NftMap = list[MapElement]
Maps = Callable[[str], NftMap]


class _Loaded(NamedTuple):
    """A part of the packet in a register: what, how many bytes, and, of an address, which bits."""

    what: int
    size: int
    mask: bytes = b""


class _State(NamedTuple):
    """Connections that got as far as this in a rule, and the registers for them."""

    traffic: Traffic
    loaded: Mapping[int, _Loaded] = MappingProxyType({})
    constants: Mapping[int, bytes] = MappingProxyType({})
    branch: Branch | None = None

    def narrowed(self, traffic: Traffic) -> _State | None:
        both = self.traffic.narrowed(traffic)
        return None if both is None else self._replace(traffic=both)

    def with_loaded(self, place: int, part: _Loaded) -> _State:
        constants = {at: data for at, data in self.constants.items() if at != place}
        return self._replace(loaded={**self.loaded, place: part}, constants=constants)

    def with_constant(self, place: int, data: bytes) -> _State:
        """A tuple's parts lie in registers of their own, each a multiple of a word."""
        loaded = {at: part for at, part in self.loaded.items() if at != place}
        return self._replace(loaded=loaded, constants={**self.constants, place: data})

    def constant(self, place: int) -> bytes:
        """What lies there and behind; empty where that is no constant."""
        for at, data in self.constants.items():
            if at <= place < at + len(data):
                return data[place - at :]
        return b""


def rule_branches(
    expressions: Iterable[Attributes], versions: Iterable[int], maps: Maps, comment: str = ""
) -> list[Branch]:
    """All that a rule does. Refused or struct.error where an expression is none."""
    families = frozenset(versions)
    states = [_State(Traffic(families))]
    for expression in expressions:
        name = text(expression.get(EXPRESSION_NAME))
        fields = attributes(expression.get(EXPRESSION_DATA, b""))
        if name == "match":
            label, _, info = _extension(fields)
            comment = comment or comment_of(label, info)
        run = _RUN.get(name, _skip if name in ALWAYS else _unknown)
        states = [
            after
            for state in states
            for after in ((state,) if state.branch else run(state, fields, maps))
        ]
    return [
        state.branch._replace(traffic=state.traffic, comment=comment)
        for state in states
        if state.branch
    ]


def _skip(state: _State, _fields: Attributes, _maps: Maps) -> Iterator[_State]:
    yield state


def _unknown(state: _State, _fields: Attributes, _maps: Maps) -> Iterator[_State]:
    yield state._replace(traffic=state.traffic._replace(whole=False))


def _place(register: int) -> int:
    """Where a register begins: four of 16 bytes (1 to 4), or sixteen words over them (from 8)."""
    return (register - 1) * REGISTER_BYTES if register < 8 else (register - 8) * WORD


def _meta(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    if 1 not in fields:  # it sets something
        yield state
        return
    what = {META_NFPROTO: FAMILY, META_L4PROTO: PROTOCOL}.get(number(fields.get(2)), OTHER)
    yield state.with_loaded(_place(number(fields[1])), _Loaded(what, 1))


def _payload(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    if 1 not in fields:
        yield state
        return
    base, offset, size = (number(fields.get(key)) for key in (2, 3, 4))
    what = OTHER
    if base == TRANSPORT_HEADER and (offset, size) == (2, 2):
        what = PORT
    elif base == NETWORK_HEADER:
        is_ipv4 = state.traffic.families == {4}
        if size == 1 and offset == (9 if is_ipv4 else 6):
            what = PROTOCOL
        elif size <= (4 if is_ipv4 else 16) and offset == (16 if is_ipv4 else 24):
            what = ADDRESS
    yield state.with_loaded(_place(number(fields[1])), _Loaded(what, size))


def _fib(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    what = LOCALITY if number(fields.get(2)) == FIB_ADDRESS_TYPE else OTHER
    yield state.with_loaded(_place(number(fields.get(1))), _Loaded(what, WORD))


def _other(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    """Loads what is not looked at: ct, numgen, jhash, rt, socket."""
    if 1 in fields:
        state = state.with_loaded(_place(number(fields[1])), _Loaded(OTHER, WORD))
    yield state


def _bitwise(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    part = state.loaded.get(_place(number(fields.get(1))), _Loaded(OTHER, WORD))
    mask = _value(fields.get(4))
    if part.what == ADDRESS and not any(_value(fields.get(5))):
        part = part._replace(mask=mask)
    elif part.what != OTHER:
        part = part._replace(what=OTHER)
    yield state.with_loaded(_place(number(fields.get(2))), part)


def _byteorder(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    """Before a range of ports is compared: bytes stay as they are here, see _number()."""
    part = state.loaded.get(_place(number(fields.get(1))), _Loaded(OTHER, WORD))
    yield state.with_loaded(_place(number(fields.get(2))), part)


def _cmp(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    part = state.loaded.get(_place(number(fields.get(1))), _Loaded(OTHER, WORD))
    operation, value = number(fields.get(2)), _value(fields.get(3))
    narrowed = state.narrowed(_compared(part, operation, value))
    if narrowed:
        yield narrowed


def _compared(part: _Loaded, operation: int, value: bytes) -> Traffic:
    if operation == EQUAL:
        return _equal(part, value)
    if part.what == PORT and operation != NOT_EQUAL:
        port = int.from_bytes(value)
        first, last = {
            LESS: (0, port - 1),
            LESS_EQUAL: (0, port),
            GREATER: (port + 1, 65535),
            GREATER_EQUAL: (port, 65535),
        }[operation]
        return Traffic(ports=((first, last),) if first <= last else ())
    return UNTOLD


def _equal(part: _Loaded, value: bytes, end: bytes = b"") -> Traffic:
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
    if part.what == LOCALITY and int.from_bytes(value[:WORD], sys.byteorder) == LOCAL:
        return Traffic()
    return UNTOLD


def _addresses(part: _Loaded, value: bytes, last: bytes) -> Addresses:
    """iptables loads no more of an address than the whole bytes of its prefix."""
    size = 4 if part.size <= 4 else 16
    bits = int.from_bytes(part.mask).bit_count() if part.mask else 8 * part.size
    if last != value:
        family = 4 if size == 4 else 6
        return Addresses(family, int.from_bytes(value[:size]), int.from_bytes(last[:size]))
    return Addresses.of(value[:size].ljust(size, b"\0"), bits)


def _range(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    part = state.loaded.get(_place(number(fields.get(1))), _Loaded(OTHER, WORD))
    inverted = number(fields.get(2))
    low, high = _value(fields.get(3)), _value(fields.get(4))
    narrowed = state.narrowed(UNTOLD if inverted else _equal(part, low, high))
    if narrowed:
        yield narrowed


def _lookup(state: _State, fields: Attributes, maps: Maps) -> Iterator[_State]:
    """Each element of a map is a branch of its own; the elements of a set are one condition where
    one part of the packet is looked up."""
    if number(fields.get(5)) & INVERTED:
        yield state._replace(traffic=state.traffic._replace(whole=False))
        return
    elements = maps(text(fields.get(1)))
    is_map, place = 3 in fields, _place(number(fields.get(2)))
    parts = _key_parts(state, place, len(elements[0].key) if elements else 0)
    found = [
        (traffic, element)
        for element, end in _ranges(elements, len(parts) == 1)
        if (traffic := _element_traffic(parts, element.key, end))
    ]
    if not is_map and len(parts) == 1 and found:
        found = [(_union(traffic for traffic, _ in found), found[0][1])]
    for traffic, element in found:
        narrowed = state.narrowed(traffic)
        if narrowed is None:
            continue
        if is_map:
            register = number(fields[3])
            yield from _take_data(narrowed, register, element.data)
        else:
            yield narrowed


def _key_parts(state: _State, place: int, key_bytes: int) -> list[_Loaded]:
    """The parts of the packet, register after register, that make the key."""
    parts = []
    end = place + key_bytes
    while place < end:
        part = state.loaded.get(place, _Loaded(OTHER, WORD))
        parts.append(part)
        place += max(_padded(part.size), WORD)
    return parts


def _padded(size: int) -> int:
    return size + -size % WORD


def _element_traffic(parts: list[_Loaded], key: bytes, end: bytes) -> Traffic | None:
    found: Traffic | None = Traffic()
    start = 0
    for part in parts:
        stop = start + part.size
        one = _equal(part, key[start:stop], end[start:stop]) if key[start:stop] else UNTOLD
        found = found.narrowed(one) if found else None
        start += _padded(part.size)
    return found


def _ranges(elements: NftMap, intervals: bool) -> Iterator[tuple[MapElement, bytes]]:
    """Each element with the last key that it stands for; empty where that is its own.

    In a set of intervals an element without a key of its own ends the one before it.
    """
    ends = [one.key for one in elements if one.flags & INTERVAL_END]
    for one in elements:
        if one.flags & INTERVAL_END:
            continue
        end = one.key_end
        if intervals and ends and not end:
            behind = min((key for key in ends if key > one.key), default=b"")
            size = len(one.key)
            end = (int.from_bytes(behind) - 1).to_bytes(size) if behind else b"\xff" * size
        yield one, end


def _union(found: Iterable[Traffic]) -> Traffic:
    """Of conditions on the same one part."""
    all_of = list(found)
    first = all_of[0]
    ports: tuple[Range, ...] = tuple(r for one in all_of for r in one.ports or ())
    protocols: frozenset[int] = frozenset().union(*(one.protocols or () for one in all_of))
    addresses = tuple(a for one in all_of for a in one.addresses or ())
    return Traffic(
        frozenset().union(*(one.families for one in all_of)),
        None if first.protocols is None else protocols,
        None if first.ports is None else ports,
        None if first.addresses is None else addresses,
        all(one.whole for one in all_of),
    )


def _immediate(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    yield from _take_data(state, number(fields.get(1)), attributes(fields.get(2, b"")))


def _take_data(state: _State, register: int, data: Attributes) -> Iterator[_State]:
    """Into a register; the one with number 0 is the rule's verdict."""
    if register:
        yield state.with_constant(_place(register), data.get(DATA_VALUE, b""))
        return
    verdict = attributes(data.get(DATA_VERDICT, b""))
    (code,) = struct.unpack(">i", verdict.get(VERDICT_CODE, bytes(4)))
    action = VERDICTS.get(code, FINAL)
    if action:
        chain = text(verdict.get(VERDICT_CHAIN))
        yield state._replace(branch=Branch(state.traffic, action, chain))
    elif code == -1:
        yield state


def _nat(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    if number(fields.get(1)) != NAT_DESTINATION:
        yield state._replace(branch=Branch(state.traffic, FINAL))
        return
    version = VERSION_OF.get(number(fields.get(2)), 6)
    narrowed = state.narrowed(Traffic(frozenset((version,))))
    if narrowed is None:
        return
    size = 4 if version == 4 else 16
    address = state.constant(_place(number(fields[3])))[:size] if 3 in fields else b""
    port = state.constant(_place(number(fields[5])))[:2] if 5 in fields else b""
    last = state.constant(_place(number(fields[6])))[:2] if 6 in fields else b""
    to = destination(
        address if len(address) == size else b"", int.from_bytes(port), int.from_bytes(last)
    )
    yield narrowed._replace(branch=Branch(narrowed.traffic, DNAT, to))


def _redirect(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    port = state.constant(_place(number(fields[1])))[:2] if 1 in fields else b""
    to = destination(b"", int.from_bytes(port))
    yield state._replace(branch=Branch(state.traffic, DNAT, to))


def _match(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    name, _, info = _extension(fields)
    narrowed = state.narrowed(match_traffic(name, info))
    if narrowed:
        yield narrowed


def _target(state: _State, fields: Attributes, _maps: Maps) -> Iterator[_State]:
    name, revision, info = _extension(fields)
    family = 4 if state.traffic.families == {4} else 6
    to = target_text(name, revision, info, family)
    if to is not None:
        yield state._replace(branch=Branch(state.traffic, DNAT, to))
    else:
        yield state._replace(traffic=state.traffic._replace(whole=False))


def _extension(fields: Attributes) -> tuple[str, int, bytes]:
    """Name, revision and structure of one of iptables' extensions."""
    return text(fields.get(1)), number(fields.get(2)), fields.get(3, b"")


def _value(data: bytes | None) -> bytes:
    return attributes(data).get(DATA_VALUE, b"") if data else b""


_Run = Callable[[_State, Attributes, Maps], Iterator[_State]]

_RUN: dict[str, _Run] = {
    "meta": _meta,
    "payload": _payload,
    "fib": _fib,
    "ct": _other,
    "numgen": _other,
    "hash": _other,
    "rt": _other,
    "socket": _other,
    "exthdr": _other,
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "cmp": _cmp,
    "range": _range,
    "lookup": _lookup,
    "immediate": _immediate,
    "nat": _nat,
    "redir": _redirect,
    "match": _match,
    "target": _target,
}
