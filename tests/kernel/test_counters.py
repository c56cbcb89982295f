"""Counts are exact: every bind once, every violation once, whatever is told of it."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from binder import Bind, Binder, StartBinder
from guard import Guard, locked_violation
from refusals import heard

from portwatch.kernel import layout
from portwatch.kernel.readings import Readings

N = 23
SECOND_NS = 1_000_000_000

DENY = "version: 1\nmode: enforce\nconstraints:\n  - {name: no, deny: [9000-59999]}\n"
RECORD = DENY.replace("enforce", "record")
ALLOW = "version: 1\nmode: enforce\nconstraints:\n  - {name: yes, allow: [all]}\n"
NOTHING = "version: 1\nmode: enforce\nconstraints: []\n"

PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite"])
FAMILIES = pytest.mark.parametrize(
    ("family", "address"), [("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("ipv6", "::ffff:127.0.0.1")]
)


@PROTOCOLS
@FAMILIES
@pytest.mark.parametrize(
    ("text", "verdict"), [(ALLOW, "allowed"), (DENY, "denied"), (RECORD, "recorded")]
)
def test_each_bind_is_counted_once(
    protocol: str, family: str, address: str, text: str, verdict: str, guard: Guard, binder: Binder
) -> None:
    """23 binds are 23 in binds_total, under their verdict, protocol and socket family only."""
    guard.publish(text)
    binder.answers([Bind(9000, address, protocol)], N)
    assert guard.binds == {(verdict, protocol, family): N}
    assert guard.totals.unjudged == 0


@PROTOCOLS
@FAMILIES
@pytest.mark.parametrize("seen_before", [False, True], ids=["fresh", "deny-list-seen-before"])
@pytest.mark.parametrize("text", [NOTHING, ALLOW], ids=["no-constraints", "allow-list"])
def test_port_0_is_counted_once_without_deny_lists(
    text: str,
    seen_before: bool,
    protocol: str,
    family: str,
    address: str,
    guard: Guard,
    binder: Binder,
) -> None:
    """23 binds to port 0 are 23 allowed ones, whatever policies there were since the load."""
    if seen_before:
        guard.publish(DENY)
    guard.publish(text)
    if not seen_before:
        guard.forget_picked()
    assert {a.said for a in binder.answers([Bind(0, address, protocol)], N)} == {"ok"}
    assert guard.binds == {("allowed", protocol, family): N}


@PROTOCOLS
@FAMILIES
@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        pytest.param(DENY, "denied", marks=pytest.mark.needs("POST_DENY")),
        (RECORD, "recorded"),
        (DENY, "allowed"),
    ],
)
def test_port_0_is_counted_once_with_deny_lists(
    protocol: str, family: str, address: str, text: str, verdict: str, guard: Guard, binder: Binder
) -> None:
    """23 binds to port 0 are 23 of the verdict on the port that the kernel picked."""
    guard.publish(text)
    binder.pick_from(*((60000, 60999) if verdict == "allowed" else (40000, 40000)))
    binder.answers([Bind(0, address, protocol)], N)
    assert guard.binds == {(verdict, protocol, family): N}
    expected = {("no", "/", 40000, protocol, verdict): N}
    assert guard.violations == ({} if verdict == "allowed" else expected)


@FAMILIES
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("seen_before", [False, True], ids=["fresh", "deny-list-seen-before"])
def test_a_port_left_to_connect_is_counted_once(
    seen_before: bool, protocol: str, family: str, address: str, guard: Guard, binder: Binder
) -> None:
    """A bind to port 0 that leaves the port to connect() (IP_BIND_ADDRESS_NO_PORT) is one allowed
    bind as well, though the kernel then skips post_bind."""
    guard.publish(DENY if seen_before else ALLOW)
    if not seen_before:
        guard.forget_picked()
    bind = Bind(0, address, protocol, no_port=True)
    assert {answer.said for answer in binder.answers([bind], N)} == {"ok"}
    assert guard.binds == {("allowed", protocol, family): N}


def test_violations_by_constraint_workload_and_port(guard: Guard, binder: Binder) -> None:
    """Each violation counts under its constraint, workload, port, protocol and verdict, and the
    workload is the defined one, else the innermost unit, else the cgroup."""
    places = ["/system.slice/shop-a.service/worker", "/ci/job", "/"]
    directories = [guard.make(path) for path in places]
    guard.publish("""
version: 1
mode: enforce
define:
  workloads: {ci: {cgroup: "/ci/**"}}
constraints:
  - {name: first, deny: [9000, 9001/udp]}
  - {name: second, mode: record, deny: [9002]}
""")
    for directory in directories:
        binder.move(directory)
        binder.answers([Bind(9000), Bind(9001), Bind(9001, protocol="udp"), Bind(9002, "::1")], N)
    assert guard.violations == {
        key: N
        for workload in ("shop-a.service", "ci", "/")
        for key in (
            ("first", workload, 9000, "tcp", "denied"),
            ("first", workload, 9001, "udp", "denied"),
            ("second", workload, 9002, "tcp", "recorded"),
        )
    }
    assert guard.verdicts() == {"allowed": 3 * N, "denied": 6 * N, "recorded": 3 * N}


def test_observed_binds(guard: Guard, binder: Binder) -> None:
    """What `learn` reads: each distinct bind with its count, denied or not."""
    place = guard.make("/observed")
    guard.publish(DENY)
    binder.move(place)
    binder.answers(
        [Bind(8000), Bind(9000, "::", v6only=False, uid=1000), Bind(0, protocol="udp")], N
    )
    readings = Readings(guard.pin_dir)
    seen = {
        (bind.port, bind.protocol, bind.uid, bind.dual, bind.count)
        for bind in readings.observed()
        if bind.cgroup == place.stat().st_ino
    }
    readings.close()
    assert seen == {
        (8000, "tcp", 0, False, N),
        (9000, "tcp", 1000, True, N),
        (0, "udp", 0, False, N),
    }


def told_and_untold(guard: Guard, events: list[layout.Event]) -> int:
    """What the events and the map say together; has to be what happened."""
    in_events: int = sum(event.count for event in events)
    return in_events + guard.pending


def test_the_first_violation_is_told_at_once(guard: Guard, binder: Binder) -> None:
    """One bind, one event, with everything that the bind was."""
    guard.publish(RECORD)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    binder.bind(9000, "::1", protocol="udp", uid=1000, gid=50)
    (event,) = guard.events()
    names = guard.publisher.names
    assert before < event.time_ns < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert (event.kind, event.count, event.total) == (layout.EVENT_VIOLATION, 1, 1)
    assert event.generation == guard.publisher.slots.generation
    assert event.cgroup == event.socket_cgroup == guard.cgroup.stat().st_ino
    assert event.netns_inode == binder.network.inode
    assert (names.text(event.constraint), names.text(event.workload)) == ("no", "/")
    assert (event.pid, event.tid) == (binder.pid, binder.pid)
    assert (event.uid, event.gid) == (1000, 50)
    assert bytes(event.address) == bytes(15) + b"\1"
    assert (event.protocol, event.port, event.requested_port, event.error) == (17, 9000, 9000, 0)
    assert (event.verdict, event.family, event.label) == (2, 1, 1)
    assert event.comm == Path(f"/proc/{binder.pid}/comm").read_bytes().strip()
    assert event.netns_inode == os.stat(f"/proc/{binder.pid}/ns/net").st_ino


def test_a_repeated_violation_is_told_once_a_second(guard: Guard, binder: Binder) -> None:
    """First at once, then at most one event a second, each with how many it stands for, and no
    violation in none or in two of them."""
    guard.publish(DENY)
    made = 0
    deadline = time.monotonic() + 2.3
    while time.monotonic() < deadline:
        binder.answers([Bind(9000)], N)
        made += N
        time.sleep(0.02)
    events = guard.events()
    assert events[0].count == 1
    assert len(events) == 3
    gaps = [b.time_ns - a.time_ns for a, b in pairwise(events)]
    assert all(SECOND_NS <= gap < 1.2 * SECOND_NS for gap in gaps)
    assert [event.total for event in events] == [
        sum(event.count for event in events[: n + 1]) for n in range(3)
    ]
    assert guard.violations == {("no", "/", 9000, "tcp", "denied"): made}
    assert told_and_untold(guard, events) == made
    assert guard.totals.events_lost == 0
    assert guard.totals.events_suppressed == made - len(events)


def test_once_a_second_holds_when_several_bind_at_once(
    guard: Guard, start_binder: StartBinder
) -> None:
    """Events of one violation are a second apart, and in order, though processes on several CPUs
    make it at the same time; every one is counted."""
    guard.publish(DENY)
    binders = [start_binder() for _ in range(4)]
    for each in binders:
        each.start_storm([Bind(9000)])
    time.sleep(3.2)
    made = sum(sum(each.end_storm().values()) for each in binders)
    events = guard.events()
    assert guard.binds == {("denied", "tcp", "ipv4"): made}
    assert guard.violations == {("no", "/", 9000, "tcp", "denied"): made}
    assert told_and_untold(guard, events) == made
    gaps = [b.time_ns - a.time_ns for a, b in pairwise(events)]
    assert [gap for gap in gaps if gap < SECOND_NS] == []
    assert len(events) == 4


def test_a_clock_read_on_another_cpu_breaks_no_second(guard: Guard, binder: Binder) -> None:
    """Where another CPU told of the same violation just later than this one read the clock, this
    one is not told of: the second is still running."""
    guard.publish(DENY)
    binder.bind(9000)
    (event,) = guard.events()
    key = layout.ViolationKey(event.constraint, event.workload, 9000, 0, 1)
    entry = locked_violation(guard, key)
    assert entry is not None
    entry.last_event_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + SECOND_NS // 2
    violations = guard.pin_dir.open_map("violations")
    violations.put(bytes(key), bytes(entry))
    violations.close()
    binder.answers([Bind(9000)], N)
    assert [event.count for event in guard.events()] == []
    assert guard.pending == N


def test_distinct_violations_are_each_told(guard: Guard, binder: Binder) -> None:
    """Different ports, protocols and workloads do not hold back each other's first event."""
    guard.publish(DENY)
    binds = [
        Bind(port, protocol=protocol) for port in range(9000, 9100) for protocol in ("tcp", "udp")
    ]
    binder.answers(binds)
    events = guard.events()
    assert {(event.port, event.protocol) for event in events} == {
        (port, number) for port in range(9000, 9100) for number in (6, 17)
    }
    assert [event.count for event in events] == [1] * 200


def test_a_full_ring_buffer_loses_events_and_no_count(guard: Guard, binder: Binder) -> None:
    """35,000 distinct violations with nobody reading: those told and those whose event was lost are
    all of them, and what was lost waits to be told in a later count."""
    guard.publish(DENY)
    made = 35_000
    for start in range(9000, 9000 + made, 5000):
        binder.answers([Bind(port) for port in range(start, start + 5000)])
    events = guard.events()
    totals = guard.totals
    assert totals.events_lost > 0
    assert len(events) + totals.events_lost == made
    assert told_and_untold(guard, events) == made
    assert guard.pending == totals.events_lost
    assert guard.binds == {("denied", "tcp", "ipv4"): made}
    assert len(guard.violations) == made
    assert set(guard.violations.values()) == {1}
    binder.bind(9000 + made, "127.0.0.1")
    assert [event.port for event in guard.events()] == [9000 + made]


def test_what_an_event_that_did_not_fit_stood_for_is_told_later(
    guard: Guard, binder: Binder
) -> None:
    """The next event of the same key stands for the violations of a lost one too."""
    guard.publish(DENY)
    binder.answers([Bind(port) for port in range(10_000, 42_000)])
    assert guard.totals.events_lost > 0
    binder.answers([Bind(41_999)], N)
    made = 32_000 + N
    time.sleep(1.05)
    events = guard.events()
    binder.bind(41_999)
    (last,) = guard.events()
    assert (last.port, last.count, last.total) == (41_999, N + 2, N + 2)
    assert told_and_untold(guard, [*events, last]) == made + 1


def test_a_full_violations_map_counts_the_rest_together(guard: Guard, binder: Binder) -> None:
    """Past 65,536 entries a violation keeps its verdict, and is counted under one entry for all
    the rest of its protocol and verdict; those that have an entry go on under their own."""
    guard.publish(DENY)
    assert binder.bind(9000) == heard()
    violations = guard.pin_dir.open_map("violations")
    free = violations.max_entries - len(list(violations.items()))
    foreign = layout.ViolationKey(constraint=0xFFFFFF, port=1, verdict=1)
    keys = []
    for number in range(free):
        foreign.workload = number
        keys.append(bytes(foreign))
    violations.put_all((key, bytes(layout.Violation())) for key in keys)
    with pytest.raises(OSError, match="Argument list too long"):
        violations.put(bytes(layout.ViolationKey(constraint=5)), bytes(layout.Violation()))

    ports = range(10_000, 10_100)
    said = binder.answers([Bind(port) for port in ports] + [Bind(9000)])
    said += binder.answers([Bind(port, protocol="udp") for port in range(10_000, 10_050)])
    assert {answer.said for answer in said} == {heard()}
    assert guard.violations == {
        ("no", "/", 9000, "tcp", "denied"): 2,
        ("other", "other", 0, "tcp", "denied"): 100,
        ("other", "other", 0, "udp", "denied"): 50,
    }
    rest = locked_violation(guard, layout.ViolationKey(protocol=0, verdict=1))
    assert rest is not None
    assert rest.count == 100
    events = guard.events()
    assert told_and_untold(guard, events) == 152
    assert guard.verdicts() == {"denied": 152}

    violations.delete_all(keys)
    violations.close()
    binder.bind(11_000)
    assert guard.violations[("no", "/", 11_000, "tcp", "denied")] == 1


def test_binds_before_the_first_policy_pass_unjudged(guard: Guard, binder: Binder) -> None:
    """Where no policy was published yet a bind goes through, and is counted as unjudged."""
    control = guard.pin_dir.open_map("control")
    kept = control.get(bytes(4))
    assert kept is not None
    guard.publish(DENY)
    live = control.get(bytes(4))
    assert live is not None
    control.put(bytes(4), bytes(layout.Control()))
    try:
        said = {answer.said for answer in binder.answers([Bind(9000), Bind(9000, "::1")], N)}
    finally:
        control.put(bytes(4), live)
        control.close()
    assert said == {"ok"}
    assert guard.binds == {}
    assert guard.totals.unjudged == 2 * N


def test_several_processes_count_exactly(guard: Guard, start_binder: StartBinder) -> None:
    """Binds of four processes at once are all counted, per verdict and protocol."""
    guard.publish(DENY)
    binders = [start_binder() for _ in range(4)]
    binds = [Bind(9000), Bind(8000), Bind(9001, protocol="udp"), Bind(0, "::1"), Bind(8000, "::1")]
    for each in binders:
        each.pick_from(60000, 60999)
        each.start_storm(binds)
    time.sleep(1.5)
    made = dict.fromkeys(range(len(binds)), 0)
    for each in binders:
        for (index, said), count in each.end_storm().items():
            assert said == (heard() if index in (0, 2) else "ok")
            made[index] += count
    assert guard.binds == {
        ("denied", "tcp", "ipv4"): made[0],
        ("allowed", "tcp", "ipv4"): made[1],
        ("denied", "udp", "ipv4"): made[2],
        ("allowed", "tcp", "ipv6"): made[3] + made[4],
    }
