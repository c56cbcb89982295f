"""Whose bind it is: on the whole machine, with sockets that are passed on, and who is warned."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from binder import Bind
from product import AgentProcess, eventually
from sandbox import Sandbox, denying

# Joins a cgroup, then binds a socket that it makes, or that it is passed on stdin.
BINDS = """\
import socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
if sys.argv[3] == "passed":
    channel = socket.socket(fileno=0)
    sock = socket.socket(fileno=socket.recv_fds(channel, 1, 1)[1][0])
else:
    sock = socket.socket()
try:
    sock.bind(("127.0.0.1", int(sys.argv[2])))
    print("ok", flush=True)
except OSError as err:
    print(err.errno, flush=True)
if sys.argv[3] == "listening":
    sock.listen()
    sys.stdin.read()
"""
# Joins a cgroup, makes a socket and passes it over stdin.
MAKES = """\
import socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
sock = socket.socket()
socket.send_fds(socket.socket(fileno=0), [b"x"], [sock.fileno()])
"""


def bind_in(cgroup: Path, port: int, how: str = "own", stdin: int | None = None) -> str:
    """What bind() says to a process of that cgroup: "ok" or the errno."""
    command = [sys.executable, "-c", BINDS, str(cgroup), str(port), how]
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def pass_and_bind(maker: Path, binder: Path, port: int) -> str:
    """The same for a socket that a process of another cgroup has made and passed on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = [sys.executable, "-c", MAKES, str(maker)]
        subprocess.run(made, stdin=ours.fileno(), check=True)
        return bind_in(binder, port, "passed", theirs.fileno())


@contextmanager
def listening(cgroup: Path, port: int) -> Iterator[int]:
    """A process of the cgroup that listens on the port: its pid."""
    command = [sys.executable, "-c", BINDS, str(cgroup), str(port), "listening"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "ok\n"
        yield process.pid
        process.stdin.close()


def free_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_on_the_whole_machine(sandbox: Sandbox) -> None:
    """Attached to the root, a constraint for one cgroup leaves all others alone, and where a
    socket comes from another cgroup, the task decides and the event names both."""
    bound, free = sandbox.make("bound"), sandbox.make("free")
    port, second = free_port(), free_port()
    policy = sandbox.policy(denying(port, second, who=f"{sandbox.path}/bound"))
    options = ["--policy", policy, "--pin-dir", sandbox.pin_dir, "--listen", "127.0.0.1:0"]
    agent = AgentProcess(options, sandbox.path)
    sandbox.stack.callback(agent.close)
    agent.wait_until_ready()
    refused = str(13)

    assert bind_in(free, port) == "ok"
    assert agent.violations() == []
    assert bind_in(bound, port) == refused
    own = eventually(agent.violations)[0]
    assert own["workload"]["cgroup"] == f"{sandbox.path}/bound"
    assert own["bind"]["network"] == "host"
    assert "socket_workload" not in own

    assert pass_and_bind(maker=free, binder=bound, port=second) == refused
    passed = eventually(lambda: agent.violations(port=second))[0]
    assert passed["workload"]["cgroup"] == f"{sandbox.path}/bound"
    assert passed["socket_workload"] == {"cgroup": f"{sandbox.path}/free"}
    assert pass_and_bind(maker=bound, binder=free, port=port) == "ok"
    violations = agent.metric("portwatch_violations_total", workload=f"{sandbox.path}/bound")
    assert violations == 2
    assert agent.metric("portwatch_violations_total") == 2
    assert agent.end() == 0
    assert bind_in(bound, port) == "ok"


def test_passed_socket(shared: Sandbox) -> None:
    """An event of a passed socket names the cgroup that bound it and the one that made it."""
    maker, binder = shared.make("maker"), shared.make("binder")
    port = free_port()
    agent = shared.agent(shared.policy(denying(port, who=f"{shared.path}/binder")), "--keep")
    assert pass_and_bind(maker, binder, port) == "13"
    event = eventually(agent.violations)[0]
    assert event["workload"]["cgroup"] == f"{shared.path}/binder"
    assert event["socket_workload"] == {"cgroup": f"{shared.path}/maker"}
    assert pass_and_bind(binder, maker, port) == "ok"


def test_who_would_be_locked_out_is_said(shared: Sandbox) -> None:
    """When they enforce it, `run`, `load` and `apply` name each socket that listens now and would
    be refused, with its process, constraint and the way out; not those in other cgroups."""
    port = free_port()
    other = shared.make("other")
    with listening(shared.home, port) as pid, listening(other, port + 1 if port < 65535 else 1024):
        policy = shared.policy(denying(port, who=shared.path))
        loaded = shared.load(policy)
        applied = shared.run("apply", policy)
        agent = shared.agent(policy, "--keep")
        eventually(lambda: "detaches everything" in agent.log)
        for said in (loaded.stderr, applied.stderr, agent.log):
            assert "warning: 1 socket listening now would be refused at the next bind" in said
            assert f"tcp 127.0.0.1:{port} of " in said
            assert f"[{pid}]: no-such-port (EACCES)" in said
            assert "`portwatch unload" in said


def test_nobody_is_warned_of_what_only_records(shared: Sandbox) -> None:
    """A policy that only records locks nobody out, and says nothing of the kind."""
    port = free_port()
    with listening(shared.home, port):
        recording = shared.policy(denying(port, who=shared.path, mode="record"))
        assert shared.load(recording).stderr == ""
        enforcing = shared.policy(denying(port, who=shared.path))
        assert shared.load(enforcing, "--mode", "record").stderr == ""
        agent = shared.agent(enforcing, "--keep", "--mode", "record")
        assert agent.end() == 0
        assert "warning" not in agent.log


def test_only_sockets_below_the_cgroup_are_warned_of(shared: Sandbox) -> None:
    """A listener outside `--cgroup` is not touched, so nobody is warned of it."""
    port = free_port()
    with socket.socket() as outside:
        outside.bind(("127.0.0.1", port))
        outside.listen()
        assert shared.load(shared.policy(denying(port))).stderr == ""


def test_way_out_names_this_pin_directory(shared: Sandbox) -> None:
    """The command in the warning detaches these pins, not the default ones."""
    port = free_port()
    with listening(shared.home, port):
        said = shared.load(shared.policy(denying(port, who=shared.path))).stderr
    assert f"portwatch unload --pin-dir {shared.pin_dir}" in said


def test_locked_out_listener_goes_on(shared: Sandbox) -> None:
    """What listens already goes on listening: enforcement touches the next bind only."""
    port = free_port()
    with listening(shared.home, port):
        shared.load(shared.policy(denying(port, who=shared.path)))
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass
    assert bind_in(shared.home, port) == "13"


def test_explain_by_pid_is_what_the_kernel_does(shared: Sandbox) -> None:
    """`explain --pid` finds the process's cgroup, ids and network, and agrees with the kernel."""
    shared.load(
        shared.policy(
            "version: 1\nmode: enforce\nconstraints:\n"
            f'- {{name: user, for: {{cgroup: "{shared.path}", user: 65534}}, deny: [9001]}}\n'
            "- {name: host, network: host, deny: [9002]}\n"
        )
    )
    binder = shared.binder()
    binder.drop_privileges()
    for port in (9001, 9002, 9003):
        said = binder.bind(port)
        done = shared.run("explain", "--pid", binder.pid, "--port", port, "--json")
        assert json.loads(done.stdout).get("errno", "ok") == said, port


def test_many_processes_at_once(shared: Sandbox) -> None:
    """Binds of eight processes at the same time are counted exactly, by verdict and workload."""
    policy = shared.policy(denying("20000-20009"))
    agent = shared.agent(policy, "--keep", "--max-series", 50_000)
    before = agent.metric("portwatch_binds_total", verdict="denied")
    binders = [shared.binder() for _ in range(8)]
    for number, binder in enumerate(binders):
        binder.start_storm([Bind(20000 + number)])
    tallies = [binder.end_storm() for binder in binders]
    happened = sum(count for tally in tallies for count in tally.values())
    assert all({said for _, said in tally} == {"EACCES"} for tally in tallies)
    assert happened >= 8 * 64
    assert agent.metric("portwatch_binds_total", verdict="denied") - before == happened
    assert agent.metric("portwatch_violations_total", workload=shared.path) == happened

    def told() -> int:
        return sum(event["count"] for event in agent.violations())

    eventually(lambda: told() == happened, within=3)
