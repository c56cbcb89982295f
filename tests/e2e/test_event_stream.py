"""Events, wherever they go: stdout, a terminal, a file, and any number of readers."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from product import eventually, run_command, violations
from sandbox import Sandbox, denying

CONTRACT_KEYS = ["time", "kind", "verdict", "constraint", "reason", "errno", "bind"]


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every event of a file; each line has to be one."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ports(path: Path, home: str) -> list[int]:
    """The ports of the violations in a file that may not be there yet."""
    if not path.exists():
        return []
    return [event["bind"]["port"] for event in violations(read_events(path), home)]


def test_event_says_everything(shared: Sandbox) -> None:
    """Piped, events are JSON lines with the contract's keys, nothing null, the facts right."""
    agent = shared.agent(shared.policy(denying("9001/tcp")), "--keep")
    binder = shared.binder()
    before = time.time()
    assert binder.bind(9001, "::1", uid=1234, gid=4321) == "EACCES"
    event = eventually(lambda: agent.violations(port=9001))[0]
    assert list(event)[:7] == CONTRACT_KEYS
    stamp = time.mktime(time.strptime(event["time"][:19] + "UTC", "%Y-%m-%dT%H:%M:%S%Z"))
    assert abs(stamp - time.timezone - before) < 3
    assert event["time"].endswith("Z")
    assert (event["verdict"], event["constraint"]) == ("denied", "no-such-port")
    assert (event["reason"], event["errno"], event["count"]) == ("not here", "EACCES", 1)
    network = event["bind"].pop("network")
    assert network == f"net:[{os.stat(f'/proc/{binder.pid}/ns/net').st_ino}]"
    assert event["bind"] == {
        "protocol": "tcp",
        "family": "ipv6",
        "address": "::1",
        "port": 9001,
        "requested_port": 9001,
    }
    assert event["workload"] == {"name": shared.path, "cgroup": shared.path}
    cmdline = Path(f"/proc/{binder.pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
    assert event["process"] == {
        "pid": binder.pid,
        "comm": Path(f"/proc/{binder.pid}/comm").read_text().strip(),
        "exe": os.readlink(f"/proc/{binder.pid}/exe"),
        "cmdline": cmdline,
        "uid": 1234,
        "gid": 4321,
    }
    assert b":null" not in b"".join(agent.lines)
    assert "socket_workload" not in event


def test_on_a_terminal_events_are_words(shared: Sandbox) -> None:
    """On a terminal the same event is one line for people, with colour, port, process and why."""
    ours, theirs = pty.openpty()
    agent = shared.agent(shared.policy(denying(9001)), "--keep", stdout=theirs)
    os.close(theirs)
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    shown = ""
    deadline = time.monotonic() + 20
    while "9001" not in shown and time.monotonic() < deadline:
        shown += os.read(ours, 4096).decode()
    assert "tcp 127.0.0.1:9001" in shown
    assert "denied" in shown
    assert "\x1b[" in shown
    assert f"[{binder.pid}]" in shown
    assert "no-such-port → EACCES (not here)" in shown
    assert '{"' not in shown
    agent.close()
    os.close(ours)


def test_dash_is_json_on_a_terminal_too(shared: Sandbox) -> None:
    """`--events -` prints JSON also where stdout is a terminal."""
    ours, theirs = pty.openpty()
    agent = shared.agent(shared.policy(denying(9001)), "--keep", "--events", "-", stdout=theirs)
    os.close(theirs)
    event = json.loads(os.read(ours, 65536).splitlines()[0])
    assert event["kind"] == "policy"
    agent.close()
    os.close(ours)


def test_file_that_is_rotated_away(shared: Sandbox) -> None:
    """`--events FILE` appends, is its owner's alone, and begins anew where it was renamed."""
    log = shared.folder / "events.jsonl"
    log.write_text('{"kind": "earlier"}\n')
    log.chmod(0o600)
    agent = shared.agent(shared.policy(denying("9001-9009")), "--keep", "--events", log)
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    eventually(lambda: ports(log, shared.path) == [9001])
    assert read_events(log)[0]["kind"] == "earlier"
    rotated = shared.folder / "events.jsonl.1"
    log.rename(rotated)
    size = rotated.stat().st_size
    assert binder.bind(9002) == "EACCES"
    eventually(lambda: ports(log, shared.path) == [9002])
    assert log.stat().st_mode & 0o777 == 0o600
    assert rotated.stat().st_size == size
    log.unlink()
    assert binder.bind(9003) == "EACCES"
    eventually(lambda: ports(log, shared.path) == [9003])
    assert agent.lines == []


def test_full_disk(shared: Sandbox) -> None:
    """A full disk stops neither enforcement nor the agent, is said once, leaves no broken line,
    and where there is room again events go on."""
    disk = shared.folder / "disk"
    disk.mkdir()
    mounted = run_command(["mount", "-t", "tmpfs", "-o", "size=8k", "small", str(disk)])
    assert mounted.returncode == 0, mounted.stderr
    try:
        log = disk / "events.jsonl"
        agent = shared.agent(shared.policy(denying("20000-20199")), "--keep", "--events", log)
        binder = shared.binder()
        assert {binder.bind(20000 + n) for n in range(100)} == {"EACCES"}
        eventually(lambda: "No space left on device" in agent.log)
        assert agent.metric("portwatch_enforcing") == 1
        assert agent.log.count("No space left on device") == 1
        assert all(line.endswith("\n") for line in log.read_text().splitlines(keepends=True))
        assert len(read_events(log)) > 5
        log.rename(shared.folder / "disk" / "full")
        (disk / "full").unlink()
        assert binder.bind(20100) == "EACCES"
        eventually(lambda: ports(log, shared.path) == [20100])
        agent.close()
    finally:
        run_command(["umount", "-l", str(disk)])


def test_full_disk_that_is_cleared_in_place(shared: Sandbox) -> None:
    """What was cut off by a full disk does not spoil the next event's line."""
    disk = shared.folder / "disk"
    disk.mkdir()
    mounted = run_command(["mount", "-t", "tmpfs", "-o", "size=16k", "small", str(disk)])
    assert mounted.returncode == 0, mounted.stderr
    try:
        log = disk / "events.jsonl"
        (disk / "ballast").write_bytes(bytes(8192))
        agent = shared.agent(shared.policy(denying("20000-20199")), "--keep", "--events", log)
        binder = shared.binder()
        assert {binder.bind(20000 + n) for n in range(100)} == {"EACCES"}
        eventually(lambda: agent.metric("portwatch_events_total", kind="violation") >= 100)
        assert "No space left on device" in agent.log
        (disk / "ballast").unlink()
        assert binder.bind(20100) == "EACCES"
        eventually(lambda: b'"port":20100' in log.read_bytes())
        assert read_events(log)[-1]["bind"]["port"] == 20100
        agent.close()
    finally:
        run_command(["umount", "-l", str(disk)])


def test_burst_comes_once_and_then_with_its_count(shared: Sandbox) -> None:
    """Of 50 denied binds in a row the first is told at once, the rest soon, and the counts of all
    their events add up to 50 exactly."""
    agent = shared.agent(shared.policy(denying(9050)), "--keep")
    binder = shared.binder()
    assert [binder.bind(9050) for _ in range(50)] == ["EACCES"] * 50
    first = eventually(lambda: agent.violations(port=9050), within=0.4)[0]
    assert first["count"] == 1

    def told() -> int:
        return sum(event["count"] for event in agent.violations(port=9050))

    eventually(lambda: told() == 50, within=2.5)
    time.sleep(1.6)
    assert told() == 50, "nothing is told twice"
    assert [binder.bind(9050) for _ in range(7)] == ["EACCES"] * 7
    eventually(lambda: told() == 57, within=2.5)


def test_burst_is_not_told_again_by_the_next_agent(shared: Sandbox) -> None:
    """What one agent has told, the agent after it does not tell again."""
    policy = shared.policy(denying(9060))
    first = shared.agent(policy, "--keep")
    binder = shared.binder()
    assert [binder.bind(9060) for _ in range(20)] == ["EACCES"] * 20

    def told() -> int:
        return sum(event["count"] for event in first.violations(port=9060))

    eventually(lambda: told() == 20)
    first.end(signal.SIGKILL)
    second = shared.agent(policy, "--keep")
    time.sleep(1.6)
    assert second.violations(port=9060) == []


def test_end_tells_what_is_left(shared: Sandbox) -> None:
    """An agent that is asked to end first tells what has happened, the end of a burst too."""
    agent = shared.agent(shared.policy(denying("9070-9079")), "--keep")
    binder = shared.binder()
    agent.process.send_signal(signal.SIGSTOP)
    assert [binder.bind(9070 + n % 10) for n in range(30)] == ["EACCES"] * 30
    agent.process.send_signal(signal.SIGTERM)
    agent.process.send_signal(signal.SIGCONT)
    assert agent.wait() == 0
    assert {event["bind"]["port"] for event in agent.violations()} == set(range(9070, 9080))
    assert sum(event["count"] for event in agent.violations()) == 30


def test_short_lived_process(shared: Sandbox) -> None:
    """A process that is gone before its event is read is still named by pid, comm and its first
    arguments, and nothing is made up: no exe."""
    agent = shared.agent(shared.policy(denying("9001-9002")), "--keep")
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    eventually(lambda: agent.violations(port=9001))
    agent.process.send_signal(signal.SIGSTOP)
    child = subprocess.Popen(
        [
            "python3",
            "-c",
            "import os, socket, sys\n"
            f"open({str(shared.home / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            "open('/proc/self/comm', 'w').write('mayfly')\n"
            "try: socket.socket().bind(('127.0.0.1', 9002))\n"
            "except PermissionError: sys.exit(13)\n",
        ]
    )
    assert child.wait() == 13
    agent.process.send_signal(signal.SIGCONT)
    event = eventually(lambda: agent.violations(port=9002))[0]
    assert " -c import os, socket, sys\nopen(" in event["process"].pop("cmdline")
    assert event["process"] == {"pid": child.pid, "comm": "mayfly", "uid": 0, "gid": 0}
    assert event["workload"]["cgroup"] == shared.path


def test_command_line_of_any_bytes(shared: Sandbox) -> None:
    """Bytes that are no UTF-8, newlines and quotes in a command line, a name and a cgroup leave
    each event one line of valid JSON, and the metrics page a page."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    odd = os.fsencode(shared.home) + b'/\xff"\\ odd'
    os.mkdir(odd)
    script = (
        "import os, socket, sys\n"
        "open(sys.argv[1].encode('utf-8', 'surrogateescape') + b'/cgroup.procs', 'w')"
        ".write(str(os.getpid()))\n"
        "open('/proc/self/comm', 'wb').write(b'\\xfe\\n\"comm')\n"
        "try: socket.socket().bind(('127.0.0.1', 9001))\n"
        "except PermissionError: print('denied', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [b"python3", b"-c", script.encode(), odd, b"\xff\xfe", b'a\nb"\\']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"denied\n"
        event = eventually(lambda: agent.violations(port=9001))[0]
        assert agent.metric("portwatch_violations_total", port="9001") >= 1
        assert child.stdin
        child.stdin.close()
    assert r"\xff\xfe" in event["process"]["cmdline"]
    assert 'a\nb"\\' in event["process"]["cmdline"]
    assert event["process"]["comm"] == '\\xfe\n"comm'
    assert json.dumps(event, ensure_ascii=False).encode("utf-8"), "no lone surrogates"
    status = shared.run("status")
    assert status.returncode == 0, status.stderr
    eventually(lambda: os.rmdir(odd) is None)
