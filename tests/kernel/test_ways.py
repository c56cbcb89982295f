"""The matrix: every way to get a port under everything that a policy may say of it, for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binder import Binder, Stand
from guard import Guard, errno_of
from way_policies import POLICIES, Outcome, outcome_of
from ways import LISTENS, LOOPBACKS, PORT, SERVER, WAYS, Kind, Variant, family_of

from portwatch.kernel import layout
from portwatch.policy.words.addresses import Address

pytestmark = pytest.mark.native("a matrix of 1,500")

CELLS = [
    pytest.param(way.kind, variant, policy, id=f"{way.name} - {variant.text} - {policy}")
    for way in WAYS
    for variant in way.variants
    for policy in POLICIES
]
SERVERS = {f"server {protocol} {a}": a for protocol in ("tcp", "udp") for a in LOOPBACKS}


@pytest.fixture(scope="module")
def way_binder(loaded: tuple[Any, Path], native_calls: Path) -> Iterator[Binder]:
    """A child whose kernel can pick one port only, with servers for its clients."""
    binder = Binder(loaded[1])
    binder.ask(do="native", path=str(native_calls))
    binder.pick_from(PORT, PORT)
    for version in ("ipv4", "ipv6"):
        binder.sysctl(f"{version}/ip_nonlocal_bind", "0")
    for name, address in SERVERS.items():
        protocol = name.split()[1]
        steps = [("socket", protocol, family_of(address)), ("bind", address, SERVER)]
        listen = [("listen",)] if protocol == "tcp" else []
        assert binder.take(*steps, *listen, name=name).said == "ok"
    yield binder
    binder.close()


@pytest.fixture(scope="module")
def way_guard(loaded: tuple[Any, Path], way_binder: Binder) -> Iterator[Guard]:
    """A guard that outlasts a test, as its binder does."""
    guard = Guard(*loaded, way_binder.network)
    yield guard
    guard.close()


@pytest.mark.parametrize(("kind", "variant", "policy"), CELLS)
def test_way(
    kind: Kind, variant: Variant, policy: str, way_guard: Guard, way_binder: Binder
) -> None:
    """What the policy says of a port happens, whichever way the port is got: the errno, the port
    held or not, one bind counted, and one event where it is a violation."""
    text = POLICIES[policy].replace("ADDRESS", variant.address).replace("PROTOCOL", variant.label)
    way_guard.publish(text)
    stand = way_binder.take(*variant.steps)
    expected = outcome_of(policy, kind)
    try:
        check_stand(stand, kind, expected)
        check_counts(way_guard, variant, expected, "default" if "default" in policy else "rule")
        check_events(way_guard.events(), way_guard, kind, variant, expected, way_binder.pid)
    finally:
        way_binder.forget(*SERVERS)


def check_stand(stand: Stand, kind: Kind, expected: Outcome | None) -> None:
    """The socket really has the port, or really has not."""
    if expected is not None and expected.verdict == "denied":
        assert (stand.said, stand.port, stand.listening) == (expected.said, 0, False)
        assert stand.failed.startswith("bind")
    else:
        assert (stand.said, stand.failed, stand.port) == ("ok", "", PORT)
        assert stand.listening == (kind in LISTENS)


def check_counts(guard: Guard, variant: Variant, expected: Outcome | None, constraint: str) -> None:
    """One bind, under its verdict; and one violation where it is one."""
    if expected is None:
        assert (guard.binds, guard.violations) == ({}, {})
        return
    assert guard.binds == {(expected.verdict, variant.label, variant.family): 1}
    violation = (constraint, "/", expected.port, variant.label, expected.verdict)
    assert guard.violations == ({} if expected.verdict == "allowed" else {violation: 1})


def check_events(
    events: list[layout.Event],
    guard: Guard,
    kind: Kind,
    variant: Variant,
    expected: Outcome | None,
    pid: int,
) -> None:
    """One event for a violation, with all that it has to tell."""
    if expected is None or expected.verdict == "allowed":
        assert events == []
        return
    (event,) = events
    assert layout.VERDICT_NAMES[event.verdict] == expected.verdict
    assert errno_of(event) == expected.said
    assert event.port == expected.port
    assert event.requested_port == (PORT if kind == Kind.ASKED else 0)
    assert layout.PROTOCOL_NAMES[event.label] == variant.label
    assert bytes(event.address) == Address.parse(variant.address).packed
    assert bool(event.scope & layout.SCOPE_DUAL) == variant.dual
    assert event.pid == pid
    assert event.cgroup == event.socket_cgroup == guard.cgroup.stat().st_ino
