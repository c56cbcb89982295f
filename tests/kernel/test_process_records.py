"""What events tell of processes that are gone, or rewritten, or have another's old number."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binder import Bind, Binder, StartBinder
from collided import collided_under
from guard import Guard
from passing_process import NAME, compile_program, passed, started

from portwatch.agent.events.process import binding_process
from portwatch.kernel import layout
from portwatch.node.paths import HostPaths
from portwatch.node.processes import TICK_NS, ProcessTable

PORT = 9000
DENY = "mode: enforce\nconstraints:\n  - {name: no, deny: [1024-65535]}\n"
ATTEMPTS = 20
USER = 4711

# The table at work in a time namespace of a day ahead: what it says of the process it is told of.
ELSEWHEN = """
import json, sys
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable, Sighting
pid, comm, time_ns, started_ns = json.loads(sys.argv[1])
print(ProcessTable(HostPaths()).describe(Sighting(pid, comm, time_ns, started_ns)).exe)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """passing_process.c, compiled."""
    return compile_program(tmp_path_factory.mktemp("passing") / "bin")


@pytest.fixture
def denying(guard: Guard) -> Iterator[Guard]:
    """A guard that denies every bind from port 1024 on."""
    guard.publish(DENY)
    yield guard


def one_event(guard: Guard) -> layout.Event:
    """The one that there has to be."""
    (event,) = guard.events()
    return event


def recorded_arguments(event: layout.Event) -> bytes:
    """As many as the record says it has; behind them it is empty."""
    raw = bytes(event.cmdline)
    assert not any(raw[event.cmdline_bytes :])
    return raw[: event.cmdline_bytes]


def told(event: layout.Event) -> dict[str, Any]:
    """The event's process, as an agent that just started would tell it."""
    return binding_process(event, ProcessTable(HostPaths()))


def test_a_process_that_is_gone_is_named(denying: Guard, program: Path) -> None:
    """Who binds and exits at once, and is reaped before the event is read, has all its names."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    said = passed(program, denying.cgroup, [NAME, "-x", "two words"], PORT=PORT, UID=USER)
    assert said.error
    event = one_event(denying)
    assert told(event) == {
        "pid": said.pid, "comm": NAME, "cmdline": f"{NAME} -x two words", "uid": USER, "gid": USER,
    }  # fmt: skip
    assert (event.tid, event.namespace_pid) == (said.pid, said.pid)
    assert before <= event.started_ns <= event.time_ns


def test_the_recorded_start_is_the_one_in_proc(denying: Guard, program: Path) -> None:
    """While it lives, the process is known in /proc by that start, and named with its program."""
    with started(program, denying.cgroup, PORT=PORT, STAY=1):
        assert told(one_event(denying))["exe"] == str(program)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([b""], id="empty"),
        pytest.param([b"", b"", b"x"], id="empty first"),
        pytest.param([b"x" * 126], id="just fits"),
        pytest.param([b"x" * 127], id="one too long"),
        pytest.param([b"x", *[b"y" * 65536] * 16], id="1 MiB"),
        pytest.param([b"x"] * 50_000, id="many"),
        pytest.param([bytes(range(1, 120))], id="control characters"),
        pytest.param([bytes(range(128, 256))[:120]], id="no UTF-8"),
        pytest.param(["wörter".encode(), b"\xed\xa0\x80\n\x1b["], id="some UTF-8"),
    ],
)
def test_arguments_of_any_kind(denying: Guard, program: Path, arguments: list[bytes]) -> None:
    """The first bytes of whatever arguments are recorded as they are, nothing of the environment
    behind them, and are text that JSON takes."""
    passed(program, denying.cgroup, arguments, PORT=PORT, SECRET="in the environment")
    event = one_event(denying)
    whole = b"".join(argument + b"\0" for argument in arguments)
    assert recorded_arguments(event) == whole[: layout.CMDLINE_BYTES]
    process = told(event)
    assert json.loads(json.dumps(process).encode()) == process
    assert ("cmdline" in process) == any(arguments)


def test_arguments_that_were_rewritten(denying: Guard, program: Path) -> None:
    """A process that gives itself a title is told by it, alive as dead, as /proc has it."""
    environment = {"PORT": PORT, "TITLE": "shop: worker"}
    arguments = [NAME, "with", "many", "arguments"]
    with started(program, denying.cgroup, arguments, **environment, STAY=1):
        event = one_event(denying)
        alive = told(event)
    assert alive["cmdline"] == "shop: worker"
    assert told(event)["cmdline"] == "shop: worker"


def test_arguments_that_cannot_be_read(denying: Guard, program: Path) -> None:
    """Where nothing can be read, the bind is judged and told all the same, without arguments."""
    said = passed(program, denying.cgroup, PORT=PORT, THREAD=NAME, HIDE=1)
    assert said.error
    event = one_event(denying)
    assert recorded_arguments(event) == b""
    assert told(event) == {"pid": said.pid, "comm": NAME, "uid": 0, "gid": 0}


def test_a_thread_is_told_as_its_process(denying: Guard, program: Path) -> None:
    """Of a thread that binds, `pid`, start and arguments are the process's, the name its own."""
    arguments = {"PORT": PORT, "THREAD": "worker", "STAY": 1}
    with started(program, denying.cgroup, **arguments) as said:
        event = one_event(denying)
        alive = told(event)
    assert said.tid != said.pid
    assert (event.pid, event.tid, event.namespace_pid) == (said.pid, said.tid, said.pid)
    assert alive == {
        "pid": said.pid, "comm": "worker", "exe": str(program), "cmdline": NAME, "uid": 0, "gid": 0,
    }  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_process_in_a_pid_namespace(denying: Guard, program: Path, depth: int) -> None:
    """In however many pid namespaces, the event tells the pid here and the one that the process
    has for itself, innermost."""
    command = [*["unshare", "--pid", "--fork"] * depth, "sh", "-c", f"{program} & wait"]
    with started("/usr/bin/unshare", denying.cgroup, command, PORT=PORT, STAY=1) as said:
        pass
    event = one_event(denying)
    assert event.namespace_pid == said.pid
    assert event.pid != said.pid
    process = told(event)
    assert (process["pid"], process["container_pid"]) == (event.pid, said.pid)


def test_a_container_s_first_process(denying: Guard, program: Path) -> None:
    """Number 1 of a pid namespace is told as such, and as the process that it is here."""
    command = ["unshare", "--pid", "--fork", str(program)]
    with started("/usr/bin/unshare", denying.cgroup, command, PORT=PORT, STAY=1) as said:
        event = one_event(denying)
        process = told(event)
        numbers = Path(f"/proc/{event.pid}/status").read_text().partition("NSpid:")[2]
        assert numbers.splitlines()[0].split() == [str(event.pid), "1"]
    assert said.pid == 1
    assert (process["container_pid"], process["exe"]) == (1, str(program))


def test_a_recycled_pid(denying: Guard, program: Path, tmp_path: Path) -> None:
    """Of two processes with one pid, one name and the same arguments, one after the other, each
    event has its own: the program of the second is never that of the first."""
    other = compile_program(tmp_path / "other")
    for _ in range(ATTEMPTS):
        denying.publish(DENY)
        first = passed(program, denying.cgroup, PORT=PORT)
        wait_for_the_next_tick()
        again = {"AS_PID": first.pid, "PROGRAM": other, "PORT": PORT + 1, "STAY": 1}
        try:
            with started(program, denying.cgroup, **again) as second:
                assert second.pid == first.pid
                check_two_of_one_pid(denying, other)
            return
        except OSError as err:
            if err.errno != errno.EEXIST:  # somebody else's by now
                raise
    pytest.fail(f"a pid was taken {ATTEMPTS} times")


def check_two_of_one_pid(guard: Guard, other: Path) -> None:
    """In any order, by one table that remembers and by fresh ones."""
    one, two = guard.events()
    assert (one.pid, one.comm, bytes(one.cmdline)) == (two.pid, two.comm, bytes(two.cmdline))
    assert one.started_ns < two.started_ns
    table = ProcessTable(HostPaths())
    for event in (one, two, one, two):
        expected = None if event is one else str(other)
        assert told(event).get("exe") == expected
        assert binding_process(event, table).get("exe") == expected


def wait_for_the_next_tick() -> None:
    """Whatever starts from now on started in another tick than what has ended."""
    tick = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // TICK_NS
    while time.clock_gettime_ns(time.CLOCK_BOOTTIME) // TICK_NS == tick:
        time.sleep(TICK_NS / 1e9)


def test_a_time_namespace_of_the_reader_s(denying: Guard, program: Path) -> None:
    """An agent to which boot time is shown moved still knows the process by its start."""
    with started(program, denying.cgroup, PORT=PORT, STAY=1):
        event = one_event(denying)
        assert event.started_ns
        seen = json.dumps([event.pid, NAME, event.time_ns, event.started_ns])
        command = ["unshare", "--time", "--boottime", "86400", "--fork"]
        command += [sys.executable, "-c", ELSEWHEN, seen]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(program)


def test_a_bind_that_collides_names_its_process(
    guard: Guard, program: Path, start_binder: StartBinder
) -> None:
    """A bind that fails since the port is taken is told with the same of its process."""
    holder: Binder = start_binder(own_network=False)
    port = free_port()
    with collided_under(guard) as collided:
        assert holder.answer(Bind(port, hold=True)).said == "ok"
        said = passed(program, guard.cgroup, [NAME, "--late"], PORT=port)
        (event,) = collided.records()
    assert said.error == errno.EADDRINUSE
    assert told(event) == {
        "pid": said.pid, "comm": NAME, "cmdline": f"{NAME} --late", "uid": 0, "gid": 0,
    }  # fmt: skip


def test_a_listen_without_bind_names_its_process(denying: Guard, program: Path) -> None:
    """What is judged when it listens is told with the same of its process."""
    said = passed(program, denying.cgroup, [NAME, "--quiet"])
    event = one_event(denying)
    assert event.requested_port == 0 or event.port == event.requested_port
    assert told(event) == {
        "pid": said.pid, "comm": NAME, "cmdline": f"{NAME} --quiet", "uid": 0, "gid": 0,
    }  # fmt: skip


def test_an_allowed_bind_leaves_no_event(guard: Guard, program: Path) -> None:
    """Nothing is told, and nothing read, of a bind that is let through."""
    guard.publish("version: 1\n")
    assert passed(program, guard.cgroup, PORT=free_port()).error == 0
    assert guard.events() == []


def free_port() -> int:
    """One that nobody has now."""
    from socket import socket

    with socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return int(any_socket.getsockname()[1])
