"""What the rules of nf_tables mean: their expressions, run over every connection at once.

An expression loads a part of the packet or a constant into registers, compares registers, looks
them up, or decides. What is not about port, protocol or address makes a rule's traffic not
`whole`, and is not looked at further.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

from portwatch.node.nat.comparisons import VERSION_OF, compared, equal
from portwatch.node.nat.netlink import Attributes, attributes, number, text
from portwatch.node.nat.registers import (
    ADDRESS,
    FAMILY,
    LOCALITY,
    OTHER,
    PORT,
    PROTOCOL,
    WORD,
    Loaded,
    State,
    place,
)
from portwatch.node.nat.rules import DNAT, FINAL, GOTO, JUMP, RETURN, Branch
from portwatch.node.nat.sets import Maps, matching
from portwatch.node.nat.traffic import Traffic
from portwatch.node.nat.xt import UNTOLD, comment_of, destination, match_traffic, target_text

EXPRESSION_NAME, EXPRESSION_DATA = 1, 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
VERDICTS = {-5: RETURN, -4: GOTO, -3: JUMP, -1: "", -2: ""}  # NFT_*; all else is final
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
META_NFPROTO, META_L4PROTO = 15, 16
FIB_ADDRESS_TYPE = 3  # NFT_FIB_RESULT_ADDRTYPE
NAT_DESTINATION = 1
INVERTED = 1  # NFT_LOOKUP_F_INV
ALWAYS = frozenset(("counter", "log", "limit", "masq", "notrack", "quota", "last", "objref"))


def rule_branches(
    expressions: Iterable[Attributes], versions: Iterable[int], maps: Maps, comment: str = ""
) -> list[Branch]:
    """All that a rule does. Refused or struct.error where an expression is none."""
    families = frozenset(versions)
    states = [State(Traffic(families))]
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


def _skip(state: State, _fields: Attributes, _maps: Maps) -> Iterator[State]:
    yield state


def _unknown(state: State, _fields: Attributes, _maps: Maps) -> Iterator[State]:
    yield state._replace(traffic=state.traffic._replace(whole=False))


def _meta(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    if 1 not in fields:  # it sets something
        yield state
        return
    what = {META_NFPROTO: FAMILY, META_L4PROTO: PROTOCOL}.get(number(fields.get(2)), OTHER)
    yield state.with_loaded(place(number(fields[1])), Loaded(what, 1))


def _payload(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
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
    yield state.with_loaded(place(number(fields[1])), Loaded(what, size))


def _fib(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    what = LOCALITY if number(fields.get(2)) == FIB_ADDRESS_TYPE else OTHER
    yield state.with_loaded(place(number(fields.get(1))), Loaded(what, WORD))


def _other(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    """Loads what is not looked at: ct, numgen, jhash, rt, socket."""
    if 1 in fields:
        state = state.with_loaded(place(number(fields[1])), Loaded(OTHER, WORD))
    yield state


def _bitwise(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    part = state.loaded.get(place(number(fields.get(1))), Loaded(OTHER, WORD))
    mask = _value(fields.get(4))
    if part.what == ADDRESS and not any(_value(fields.get(5))):
        part = part._replace(mask=mask)
    elif part.what != OTHER:
        part = part._replace(what=OTHER)
    yield state.with_loaded(place(number(fields.get(2))), part)


def _byteorder(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    """Before a range of ports is compared: bytes stay as they are here, see _number()."""
    part = state.loaded.get(place(number(fields.get(1))), Loaded(OTHER, WORD))
    yield state.with_loaded(place(number(fields.get(2))), part)


def _cmp(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    part = state.loaded.get(place(number(fields.get(1))), Loaded(OTHER, WORD))
    operation, value = number(fields.get(2)), _value(fields.get(3))
    narrowed = state.narrowed(compared(part, operation, value))
    if narrowed:
        yield narrowed


def _range(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    part = state.loaded.get(place(number(fields.get(1))), Loaded(OTHER, WORD))
    inverted = number(fields.get(2))
    low, high = _value(fields.get(3)), _value(fields.get(4))
    narrowed = state.narrowed(UNTOLD if inverted else equal(part, low, high))
    if narrowed:
        yield narrowed


def _lookup(state: State, fields: Attributes, maps: Maps) -> Iterator[State]:
    """Each element of a map is a branch of its own; the elements of a set are one condition where
    one part of the packet is looked up."""
    if number(fields.get(5)) & INVERTED:
        yield state._replace(traffic=state.traffic._replace(whole=False))
        return
    elements = maps(text(fields.get(1)))
    is_map, place_of_key = 3 in fields, place(number(fields.get(2)))
    for traffic, element in matching(state, place_of_key, elements, is_map):
        narrowed = state.narrowed(traffic)
        if narrowed is None:
            continue
        if is_map:
            register = number(fields[3])
            yield from _take_data(narrowed, register, element.data)
        else:
            yield narrowed


def _immediate(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    yield from _take_data(state, number(fields.get(1)), attributes(fields.get(2, b"")))


def _take_data(state: State, register: int, data: Attributes) -> Iterator[State]:
    """Into a register; the one with number 0 is the rule's verdict."""
    if register:
        yield state.with_constant(place(register), data.get(DATA_VALUE, b""))
        return
    verdict = attributes(data.get(DATA_VERDICT, b""))
    (code,) = struct.unpack(">i", verdict.get(VERDICT_CODE, bytes(4)))
    action = VERDICTS.get(code, FINAL)
    if action:
        chain = text(verdict.get(VERDICT_CHAIN))
        yield state._replace(branch=Branch(state.traffic, action, chain))
    elif code == -1:
        yield state


def _nat(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    if number(fields.get(1)) != NAT_DESTINATION:
        yield state._replace(branch=Branch(state.traffic, FINAL))
        return
    version = VERSION_OF.get(number(fields.get(2)), 6)
    narrowed = state.narrowed(Traffic(frozenset((version,))))
    if narrowed is None:
        return
    size = 4 if version == 4 else 16
    address = state.constant(place(number(fields[3])))[:size] if 3 in fields else b""
    port = state.constant(place(number(fields[5])))[:2] if 5 in fields else b""
    last = state.constant(place(number(fields[6])))[:2] if 6 in fields else b""
    to = destination(
        address if len(address) == size else b"", int.from_bytes(port), int.from_bytes(last)
    )
    yield narrowed._replace(branch=Branch(narrowed.traffic, DNAT, to))


def _redirect(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    port = state.constant(place(number(fields[1])))[:2] if 1 in fields else b""
    to = destination(b"", int.from_bytes(port))
    yield state._replace(branch=Branch(state.traffic, DNAT, to))


def _match(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
    name, _, info = _extension(fields)
    narrowed = state.narrowed(match_traffic(name, info))
    if narrowed:
        yield narrowed


def _target(state: State, fields: Attributes, _maps: Maps) -> Iterator[State]:
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


_Run = Callable[[State, Attributes, Maps], Iterator[State]]

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
