"""Which sockets stand in the way of a bind: addresses that overlap, each way round."""

from __future__ import annotations

import pytest
from collision_desk import listener, record

from portwatch.agent.events.collision import conflicting
from portwatch.kernel import layout

DUAL = "dual"
PAIRS = [
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "127.0.0.2", False),
    ("127.0.0.1", "0.0.0.0", True),
    ("0.0.0.0", "0.0.0.0", True),
    ("::1", "::1", True),
    ("::1", "::2", False),
    ("::1", "::", True),
    ("::", "::", True),
    ("127.0.0.1", "::1", False),
    ("127.0.0.1", "::", False),
    ("0.0.0.0", "::", False),
    ("0.0.0.0", "::1", False),
    (DUAL, "127.0.0.1", True),
    (DUAL, "0.0.0.0", True),
    (DUAL, "::1", True),
    (DUAL, "::", True),
    (DUAL, DUAL, True),
]


def conflicts(wanted: str, held: str) -> bool:
    """Whether a bind to the one fails because of the other."""
    dual = wanted == DUAL
    raw = record(
        address="::" if dual else wanted if ":" in wanted else f"::ffff:{wanted}",
        scope=layout.SCOPE_DUAL if dual else 0,
    )
    held_dual = held == DUAL
    address = "::" if held_dual else held
    family = "ipv6" if ":" in address else "ipv4"
    one = listener(address=address, dual=held_dual, family=family)
    return list(conflicting(raw, [one])) == [one]


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS)
def test_addresses_conflict_either_way(one: str, other: str, expected: bool) -> None:
    """A wildcard has every address of its IP version, a dual-stack one those of both."""
    assert conflicts(one, other) is expected
    assert conflicts(other, one) is expected


def test_a_mapped_address_is_the_ipv4_one() -> None:
    """Whatever the family of either socket."""
    one = listener(address="127.0.0.1", family="ipv6")
    family = layout.FAMILY_NAMES.index("ipv6")
    assert list(conflicting(record(family=family), [one])) == [one]
