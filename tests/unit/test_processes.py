"""Processes by what the kernel recorded of them: real children, and a /proc of fixtures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portwatch.node.paths import HostPaths
from portwatch.node.processes import (
    CMDLINE_BYTES,
    REMEMBERED,
    TICK_NS,
    ProcessFacts,
    ProcessTable,
    Sighting,
    boot_offset_ns,
    namespace_pid,
    process_cmdline,
    process_exe,
    real_ids,
    started_ns,
)

NOTHING = ProcessFacts()
SLEEPER = "import sys; sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"
ANY_BYTES = bytes(range(1, 256))
EARLY_NS, LATER_NS = 500 * TICK_NS, 900 * TICK_NS


@contextlib.contextmanager
def running(*command: bytes | str) -> Iterator[int]:
    """A child that has executed this and waits; its pid."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SLEEPER, *command], **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == b"up\n"
        yield child.pid
        child.stdin.close()


def sighting(pid: int, **more: object) -> Sighting:
    """This process as the kernel would record it now."""
    directory = Path("/proc", str(pid))
    comm = (directory / "comm").read_text().rstrip("\n")
    given = {
        "time_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        "started_ns": started_ns(directory),
        "cmdline": (directory / "cmdline").read_bytes()[:127],
    }
    return Sighting(pid, comm, **(given | more))  # type: ignore[arg-type]


class FakeProc:
    """A /proc with one process in it, which a test may replace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = HostPaths(root)

    def put(self, pid: int, *, start: int, comm: str, exe: str, cmdline: bytes) -> None:
        """The process that now has this pid; `start` in ns."""
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "exe").unlink(missing_ok=True)
        (directory / "exe").symlink_to(exe)
        (directory / "comm").write_text(f"{comm}\n")
        (directory / "cmdline").write_bytes(cmdline)
        rest = " ".join(["S", *["0"] * 18, str(start // TICK_NS), "0"])
        (directory / "stat").write_text(f"{pid} (({comm}) {rest}\n")


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """One with `shop` under pid 7, started at EARLY_NS."""
    fake = FakeProc(tmp_path)
    fake.put(7, start=EARLY_NS, comm="shop", exe="/bin/shop", cmdline=b"shop\0-x\0")
    return fake


SHOP = Sighting(7, "shop", LATER_NS, EARLY_NS + 1, b"shop\0-x\0")


def test_a_running_process_is_described() -> None:
    """A process that still runs is named with its program and its arguments."""
    with running("shop", "two words") as pid:
        facts = ProcessTable(HostPaths()).describe(sighting(pid))
        assert facts.exe == os.path.realpath(sys.executable)
        assert facts.cmdline is not None
        assert facts.cmdline.endswith(" shop two words")


def test_a_process_that_has_ended_keeps_what_the_kernel_recorded() -> None:
    """After its end no program is named, and of the arguments what the record has."""
    with running("shop") as pid:
        seen = sighting(pid, cmdline=b"python\0shop\0")
    assert ProcessTable(HostPaths()).describe(seen) == ProcessFacts(None, "python shop")


def test_a_zombie_keeps_what_the_kernel_recorded() -> None:
    """A process that has ended and was not waited for has its number still, and no arguments."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    seen = sighting(child, cmdline=b"shop\0")
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert ProcessTable(HostPaths()).describe(seen) == ProcessFacts(None, "shop")
    finally:
        os.waitpid(child, 0)


def test_what_was_read_in_time_is_told_after_the_end() -> None:
    """A second event of a process that has ended by then has all that the first had."""
    table = ProcessTable(HostPaths())
    with running("shop") as pid:
        seen = sighting(pid)
        first = table.describe(seen)
        assert first.exe is not None
    assert not Path(f"/proc/{pid}").exists()
    assert table.describe(seen) == first


def test_a_recycled_pid_is_told_by_its_start(proc: FakeProc) -> None:
    """Another process under the same number, name and arguments never lends its program."""
    proc.put(7, start=EARLY_NS + TICK_NS, comm="shop", exe="/bin/other", cmdline=b"shop\0-x\0")
    assert ProcessTable(proc.host).describe(SHOP) == ProcessFacts(None, "shop -x")


def test_a_pid_recycled_between_two_events_is_told_apart(proc: FakeProc) -> None:
    """Facts of the first are not remembered for the second, nor the other way round."""
    table = ProcessTable(proc.host)
    assert table.describe(SHOP).exe == "/bin/shop"
    proc.put(7, start=LATER_NS, comm="shop", exe="/bin/other", cmdline=b"shop\0-x\0")
    other = SHOP._replace(started_ns=LATER_NS, time_ns=LATER_NS + TICK_NS)
    assert table.describe(other).exe == "/bin/other"
    assert table.describe(SHOP).exe == "/bin/shop"


@pytest.mark.parametrize("within", [0, 1, TICK_NS - 1])
def test_a_start_is_compared_to_the_tick(proc: FakeProc, within: int) -> None:
    """/proc rounds the start down to a clock tick; anything within that tick is the process."""
    seen = SHOP._replace(started_ns=EARLY_NS + within)
    assert ProcessTable(proc.host).describe(seen).exe == "/bin/shop"


@pytest.mark.parametrize("away", [-1, TICK_NS])
def test_the_next_tick_is_another_process(proc: FakeProc, away: int) -> None:
    """A start outside of that tick is somebody else's."""
    seen = SHOP._replace(started_ns=EARLY_NS + away)
    assert ProcessTable(proc.host).describe(seen).exe is None


def test_without_a_recorded_start_it_must_have_started_before(proc: FakeProc) -> None:
    """Where the kernel records no start, a process that is younger than the event is another."""
    seen = SHOP._replace(started_ns=0, cmdline=b"")
    table = ProcessTable(proc.host)
    assert table.describe(seen) == ProcessFacts("/bin/shop", "shop -x")
    assert table.describe(seen._replace(time_ns=EARLY_NS - 1)) == NOTHING


def test_without_a_recorded_start_a_new_process_is_read_anew(proc: FakeProc) -> None:
    """There too, what was remembered of one process is not told of the next under its number."""
    table = ProcessTable(proc.host)
    seen = SHOP._replace(started_ns=0, cmdline=b"")
    assert table.describe(seen).exe == "/bin/shop"
    proc.put(7, start=EARLY_NS + TICK_NS, comm="shop", exe="/bin/other", cmdline=b"shop\0")
    assert table.describe(seen) == ProcessFacts("/bin/other", "shop")


def test_a_program_executed_since_is_not_told(proc: FakeProc) -> None:
    """Who has bound and then become another program is told by its arguments of then, alone."""
    proc.put(7, start=EARLY_NS, comm="next", exe="/bin/next", cmdline=b"next\0")
    assert ProcessTable(proc.host).describe(SHOP) == ProcessFacts(None, "shop -x")


def test_a_title_rewritten_since_leaves_the_program(proc: FakeProc) -> None:
    """Arguments that were overwritten since, under the same name, are told as they were then."""
    proc.put(7, start=EARLY_NS, comm="shop", exe="/bin/shop", cmdline=b"shop: worker\0")
    assert ProcessTable(proc.host).describe(SHOP) == ProcessFacts("/bin/shop", "shop -x")


def test_arguments_are_told_further_than_the_kernel_recorded(proc: FakeProc) -> None:
    """/proc goes on where the record ends, up to its own bound."""
    long = b"shop\0" + b"y" * (2 * CMDLINE_BYTES)
    proc.put(7, start=EARLY_NS, comm="shop", exe="/bin/shop", cmdline=long)
    facts = ProcessTable(proc.host).describe(SHOP._replace(cmdline=long[:127]))
    assert facts.cmdline == "shop " + "y" * (CMDLINE_BYTES - 5)


@pytest.mark.parametrize("cmdline", [b"", b"\0", b"\0\0\0"])
def test_no_arguments_are_absent(proc: FakeProc, cmdline: bytes) -> None:
    """A process without arguments, or with empty ones alone, has no command line to tell."""
    proc.put(7, start=EARLY_NS, comm="shop", exe="/bin/shop", cmdline=cmdline)
    facts = ProcessTable(proc.host).describe(SHOP._replace(cmdline=cmdline))
    assert facts == ProcessFacts("/bin/shop", None)


def test_any_bytes_become_text() -> None:
    """Arguments of any bytes are text that JSON takes, whether /proc or the kernel tells them."""
    with running(ANY_BYTES, b"\xed\xa0\x80") as pid:
        seen = sighting(pid)
        alive = ProcessTable(HostPaths()).describe(seen)
    dead = ProcessTable(HostPaths()).describe(seen._replace(cmdline=b"x\0" + ANY_BYTES[-100:]))
    for facts in (alive, dead):
        assert facts.cmdline is not None
        assert "\\xff" in facts.cmdline
        assert json.loads(json.dumps(facts.cmdline).encode()) == facts.cmdline
        facts.cmdline.encode("utf-8")


def test_no_more_is_remembered_than_the_bound(proc: FakeProc) -> None:
    """Old facts go, so that memory is bounded however many processes come; they are read anew."""
    table = ProcessTable(proc.host)
    table.describe(SHOP)
    for number in range(REMEMBERED):
        table.describe(SHOP._replace(comm=f"thread-{number}"))
    proc.put(7, start=LATER_NS, comm="other", exe="/bin/other", cmdline=b"other\0")
    assert table.describe(SHOP) == ProcessFacts(None, "shop -x")


def test_a_kernel_thread_has_neither(tmp_path: Path) -> None:
    """A kernel thread has a name, no program and no arguments."""
    kthreadd = Path("/proc/2")
    assert process_exe(kthreadd) is None
    assert process_cmdline(kthreadd) is None


def test_times_of_another_time_namespace(proc: FakeProc) -> None:
    """Where boot time is shown moved, starts are compared as if it were not."""
    (proc.root / "self").mkdir()
    (proc.root / "self" / "timens_offsets").write_text("monotonic 0 0\nboottime -3 500000000\n")
    assert boot_offset_ns(proc.host) == -2_500_000_000
    earlier = 2_500_000_000
    seen = SHOP._replace(started_ns=EARLY_NS + earlier + 1, time_ns=LATER_NS + earlier)
    assert ProcessTable(proc.host).describe(seen).exe == "/bin/shop"
    as_before_5_11 = ProcessTable(proc.host).describe(SHOP)
    assert as_before_5_11.exe == "/bin/shop"
    later = seen._replace(started_ns=seen.started_ns + TICK_NS)
    assert ProcessTable(proc.host).describe(later).exe is None
    unrecorded = seen._replace(started_ns=0)
    assert ProcessTable(proc.host).describe(unrecorded).exe == "/bin/shop"
    early = unrecorded._replace(time_ns=EARLY_NS + earlier - 1)
    assert ProcessTable(proc.host).describe(early).exe is None


def test_numbers_of_a_process() -> None:
    """Real ids, and the pid in the innermost namespace, are those that the process has itself."""
    pid = os.getpid()
    assert real_ids(HostPaths(), pid) == (os.getuid(), os.getgid())
    assert namespace_pid(HostPaths(), pid) == pid


def test_numbers_are_read_of_any_status(tmp_path: Path) -> None:
    """Of several pids the innermost is last; a kernel without namespaces, or a process that is
    gone, tells none."""
    (tmp_path / "7").mkdir()
    status = tmp_path / "7" / "status"
    status.write_bytes(b"Name:\t\xff:\nUid:\t1\t2\t2\t2\nGid:\t3\t4\t4\t4\nNSpid:\t7\t20\t1\n")
    host = HostPaths(tmp_path)
    assert (real_ids(host, 7), namespace_pid(host, 7)) == ((1, 3), 1)
    status.write_bytes(b"Name:\tx\nUid:\t1\t2\t2\t2\nGid:\t3\t4\t4\t4\n")
    assert namespace_pid(host, 7) is None
    assert (real_ids(host, 8), namespace_pid(host, 8)) == (None, None)
