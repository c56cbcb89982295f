"""Other programs on the bind hooks: noticed where they run after portwatch's, and only there; then
a bind is judged by the port that it really takes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import attached, let_go, load, rewriting_port
from binder import Binder
from guard import Guard, errno_of
from scratch import remove_cgroup

from portwatch.agent.survey.child import are_rewriters
from portwatch.kernel import layout, libbpf, loading
from portwatch.kernel.features import Feature
from portwatch.kernel.foreign import chains, others_run_after, own_programs
from portwatch.kernel.hooks import (
    ATTACH_INET4_BIND,
    ATTACH_INET6_BIND,
    PROGRAM_CGROUP_SOCK_ADDR,
)
from portwatch.kernel.loading import read_meta
from portwatch.kernel.pins import PinDir

N = 23
ASKED, KEPT = 9001, 9000
POLICY = (
    "version: 1\nmode: enforce\nerrno: EADDRNOTAVAIL\nconstraints:\n"
    f"  - {{name: kept, deny: [{KEPT}]}}\n"
)
ATTACH_ALLOW_MULTI = 2


@pytest.fixture(autouse=True)
def forgotten(guard: Guard) -> Iterator[None]:
    """What the programs were told of others is forgotten, before and for the next test."""
    guard.forget_picked()
    yield
    guard.forget_picked()


def is_foreign(pin_dir: PinDir) -> bool:
    """Whether the programs there judge again."""
    with contextlib.closing(pin_dir.open_map("control")) as control:
        record = layout.Control.from_buffer_copy(control.get(bytes(4)) or b"")
    return bool(record.flags & layout.CONTROL_FOREIGN)


@pytest.mark.parametrize("asked", [ASKED, 0])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("address", "attach_type"), [("127.0.0.1", ATTACH_INET4_BIND), ("::1", ATTACH_INET6_BIND)]
)
def test_a_rewritten_bind_is_judged_by_its_real_port(
    address: str, attach_type: int, protocol: str, asked: int, guard: Guard, binder: Binder
) -> None:
    """A program that comes while a policy is in force: from the agent's next look on, the denied
    port that it gives out is refused with the policy's errno, told as it is beside what was asked
    for, and counted once; nobody has the port then."""
    guard.publish(POLICY)
    features = Feature(read_meta(guard.pin_dir).features)
    with attached(guard.cgroup, attach_type, rewriting_port(KEPT)):
        guard.publisher.notice_others()
        assert is_foreign(guard.pin_dir)
        family = "ipv6" if ":" in address else "ipv4"
        steps = ("socket", protocol, family), ("bind", address, asked)
        stands = [binder.take(*steps) for _ in range(N)]
        binder.forget()
    said, verdict = "EADDRNOTAVAIL" if Feature.SET_RETVAL in features else "EPERM", "denied"
    if Feature.POST_DENY not in features:
        said, verdict = "ok", "recorded"
    assert {stand.said for stand in stands} == {said}
    assert {stand.port for stand in stands} == ({KEPT} if said == "ok" else {0})
    assert guard.binds == {(verdict, protocol, family): N}
    assert guard.violations == {("kept", "/", KEPT, protocol, verdict): N}
    event = guard.events()[0]
    assert (event.kind, event.port, event.requested_port) == (layout.EVENT_VIOLATION, KEPT, asked)
    assert errno_of(event) == said
    guard.publish("version: 1\n")
    assert binder.bind(KEPT, address, protocol=protocol) == "ok"


def test_while_a_refused_socket_is_open_it_has_no_port(guard: Guard, binder: Binder) -> None:
    """The refused socket stands without a port, and another may have it at once."""
    guard.publish(POLICY)
    with attached(guard.cgroup, ATTACH_INET4_BIND, rewriting_port(KEPT)):
        guard.publisher.notice_others()
        stand = binder.take(("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", ASKED), name="kept")
    if Feature.POST_DENY in Feature(read_meta(guard.pin_dir).features):
        assert (stand.said, stand.address, stand.port) == ("EADDRNOTAVAIL", "0.0.0.0", 0)
        guard.publish("version: 1\n")
        assert binder.take(("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", KEPT)).said == "ok"
    else:
        assert (stand.said, stand.port) == ("ok", KEPT)


def test_a_rewrite_between_allowed_ports_is_one_allowed_bind(guard: Guard, binder: Binder) -> None:
    """Judged twice, counted once, and no violation; what is denied before the other program runs
    stays denied."""
    guard.publish(POLICY)
    with attached(guard.cgroup, ATTACH_INET4_BIND, rewriting_port(9002)):
        guard.publisher.notice_others()
        steps = ("socket", "tcp", "ipv4"), ("bind", "127.0.0.1", ASKED)
        assert {binder.take(*steps).port for _ in range(N)} == {9002}
        binder.forget()
        assert guard.binds == {("allowed", "tcp", "ipv4"): N}
        assert guard.violations == {}
        assert binder.bind(KEPT) != "ok"
    assert guard.verdicts() == {"allowed": N, "denied": 1}


def test_where_nobody_else_is_nothing_is_judged_again(
    guard: Guard, binder: Binder, scratch_cgroup: Path
) -> None:
    """No flag without others, for those on a cgroup below ours, which run first, or beside it."""
    child = guard.make("/child")
    guard.publish(POLICY)
    for cgroup in (child, scratch_cgroup):
        with attached(cgroup, ATTACH_INET4_BIND, rewriting_port(KEPT)):
            guard.publisher.notice_others()
            assert not is_foreign(guard.pin_dir)
    remove_cgroup(child)


def test_the_order_of_attachment_decides(
    scratch_cgroup: Path, scratch_pin_dir: PinDir, loaded: tuple[PinDir, Path]
) -> None:
    """Attached before ours: no flag, since what it did is what we judge. Another portwatch after
    ours: none either. A program after both: flagged."""
    other = PinDir(scratch_pin_dir.path.with_name(f"{scratch_pin_dir.path.name}-other"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(attached(scratch_cgroup, ATTACH_INET4_BIND, rewriting_port(KEPT)))
        assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
        stack.callback(loading.remove, other)
        assert loading.ensure_loaded(other, scratch_cgroup)
        guards = [Guard(pin_dir, scratch_cgroup) for pin_dir in (scratch_pin_dir, other)]
        for guard in guards:
            stack.callback(guard.close)
            guard.publish(POLICY)
        assert [is_foreign(guard.pin_dir) for guard in guards] == [False, False]
        stack.enter_context(attached(scratch_cgroup, ATTACH_INET6_BIND, let_go()))
        for guard in guards:
            guard.publisher.notice_others()
        assert [is_foreign(guard.pin_dir) for guard in guards] == [True, True]
    assert not is_foreign(loaded[0])


def test_a_program_above_has_the_last_word(scratch_cgroup: Path, guard: Guard) -> None:
    """One on any cgroup above ours up to the root runs after it; above the root is nothing."""
    middle = scratch_cgroup / "middle"
    below = middle / "below"
    below.mkdir(parents=True)
    own = own_programs(guard.pin_dir)
    assert not others_run_after(chains(below, scratch_cgroup), own)
    with attached(scratch_cgroup, ATTACH_INET6_BIND, let_go()):
        assert others_run_after(chains(below, scratch_cgroup), own)
        assert not others_run_after(chains(below, middle), own)
    assert not others_run_after(chains(below, scratch_cgroup), own)


def test_the_survey_looks_for_an_agent_that_may_not(scratch_cgroup: Path, guard: Guard) -> None:
    """What the survey's child says: others are there, or not; and where it may not look either,
    that there may be some."""
    below = scratch_cgroup / "below"
    below.mkdir()
    place = guard.pin_dir, below, scratch_cgroup
    assert not are_rewriters(*place)
    powerless = ["setpriv", "--bounding-set=-net_admin,-sys_admin", sys.executable, "-c"]
    code = "import sys; from pathlib import Path; from portwatch.kernel.pins import PinDir; "
    code += "from portwatch.agent.survey.child import are_rewriters; "
    code += "pins, *rest = map(Path, sys.argv[1:]); print(are_rewriters(PinDir(pins), *rest))"
    command = [*powerless, code, str(guard.pin_dir.path), *map(str, place[1:])]
    assert subprocess.run(command, check=True, text=True, capture_output=True).stdout == "True\n"
    with attached(scratch_cgroup, ATTACH_INET6_BIND, let_go()):
        assert are_rewriters(*place)


def test_a_program_without_a_link_is_noticed(scratch_cgroup: Path, guard: Guard) -> None:
    """Attached by BPF_PROG_ATTACH, as systemd does it, it is on the list like any other."""
    below = scratch_cgroup / "below"
    below.mkdir()
    own = own_programs(guard.pin_dir)
    lib, kind = libbpf.library(), ATTACH_INET4_BIND
    program = load(PROGRAM_CGROUP_SOCK_ADDR, kind, let_go())
    directory = os.open(scratch_cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert not others_run_after(chains(below, scratch_cgroup), own)
        libbpf.check(lib.bpf_prog_attach(program, directory, kind, ATTACH_ALLOW_MULTI), "attach")
        assert others_run_after(chains(below, scratch_cgroup), own)
        libbpf.check(lib.bpf_prog_detach2(program, directory, kind), "detach")
        assert not others_run_after(chains(below, scratch_cgroup), own)
    finally:
        os.close(program)
        os.close(directory)
