"""Machines that lack something, and pins that are not what they should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from product import PORTWATCH, Done, eventually, run_command
from sandbox import ATTACHED, Sandbox, denying

from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir
from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@contextmanager
def readable_by_all(text: str) -> Iterator[Path]:
    """A policy file that anybody may read, which pytest's own directories do not allow."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        path = Path(file.name)
        path.chmod(0o644)
        yield path


def in_own_mounts(prepare: str, *command: object) -> Done:
    """Run shell commands and then portwatch with mounts of their own; ours do not change."""
    words = [PORTWATCH, *map(str, command)]
    return run_command(["unshare", "-m", "sh", "-ec", f'{prepare}\nexec "$@"', "sh", *words])


def assert_clear(done: Done, status: int, says: str) -> None:
    """The status, the message, a hint, and no traceback."""
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    assert says in done.stderr, done.stderr
    assert "hint:" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["run", "load --policy {policy}", "unload", "apply {policy}", "demo", "status", "events"],
)
def test_not_root(shared: Sandbox, command: str) -> None:
    """Whoever is not root is told so with status 3 and what to do, and nothing happens."""
    shared.agent(shared.policy(denying(9001)), "--keep")
    with readable_by_all(denying(9002)) as policy:
        words = command.format(policy=policy).split()
        if words[0] != "demo":
            words += ["--pin-dir", str(shared.pin_dir)]
        done = run_command([*NOBODY, PORTWATCH, *words])
    assert_clear(done, 3, "")
    assert "root" in done.stderr
    assert shared.binder().bind(9001) == "EACCES"


def test_not_root_may_ask() -> None:
    """Without root one may check and explain a policy, see the schema, and ask the doctor."""
    with readable_by_all(denying(9001)) as policy:
        for line, status in (
            (f"check {policy}", 0),
            (f"explain {policy} --port 9001", 1),
            ("schema", 0),
            ("doctor", 3),
            ("--help", 0),
        ):
            done = run_command([*NOBODY, PORTWATCH, *line.split()])
            assert "Traceback" not in done.stderr, line
            assert done.returncode == status, done.stderr
            assert done.stdout
        policy.chmod(0o600)
        done = run_command([*NOBODY, PORTWATCH, "check", str(policy)])
        assert_clear(done, 2, f"cannot read the policy {policy}: Permission denied")


def test_no_cgroup2(sandbox: Sandbox) -> None:
    """Where no cgroup2 is mounted, `load` and `run` say so and how to mount it."""
    unmount = f"umount -l {find_cgroup2(HostPaths())}"
    policy = sandbox.policy(denying(9001))
    for command in ("load", "run"):
        done = in_own_mounts(unmount, command, "--policy", policy, "--pin-dir", sandbox.pin_dir)
        assert_clear(done, 3, "no cgroup2 hierarchy is mounted")
        assert "mount -t cgroup2" in done.stderr
        sandbox.assert_nothing_left({})
    done = in_own_mounts(unmount, "doctor", "--pin-dir", sandbox.pin_dir)
    assert done.returncode == 3
    assert "MISS  cgroup2" in done.stdout
    assert "mount -t cgroup2" in done.stdout


def test_no_bpffs(sandbox: Sandbox) -> None:
    """Where no BPF file system is mounted, `load` mounts it and then works."""
    policy = sandbox.policy(denying(9001))
    pin_dir = f"--pin-dir {sandbox.pin_dir}"
    prepare = (
        "umount -l /sys/fs/bpf\n"
        f"{PORTWATCH} load --policy {policy} --cgroup {sandbox.cgroup} {pin_dir} >&2\n"
        f"{PORTWATCH} status {pin_dir} --json\n"
        f"{PORTWATCH} unload {pin_dir} >&2\n"
    )
    done = in_own_mounts(prepare, "--version")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[0])
    assert facts["enforcing"] is True
    assert facts["hooks"]["bind4"] is True
    sandbox.assert_nothing_left({})


def test_bpffs_that_cannot_be_mounted(sandbox: Sandbox) -> None:
    """Where the BPF file system is missing and root may not mount it, the message says how."""
    policy = sandbox.policy(denying(9001))
    command = ["load", "--policy", policy, "--cgroup", sandbox.cgroup, "--pin-dir", sandbox.pin_dir]
    words = [PORTWATCH, *map(str, command)]
    weak = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    script = 'umount -l /sys/fs/bpf\nexec "$@"'
    done = run_command(["unshare", "-m", "sh", "-ec", script, "sh", *weak, *words])
    assert_clear(done, 3, "mounting one failed")
    assert "mount -t bpf bpf /sys/fs/bpf" in done.stderr


@pytest.mark.parametrize("command", ["run", "load"])
def test_no_bcc(sandbox: Sandbox, command: str) -> None:
    """Where bcc is missing, the message names the package, and nothing is left."""
    (sandbox.folder / "bcc.py").write_text("raise ImportError('no bcc here')\n")
    policy = sandbox.policy(denying(9001))
    inherited = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": f"{sandbox.folder}:{inherited}"}
    options = ["--policy", policy, "--cgroup", sandbox.cgroup]
    done = sandbox.run(command, *options, env=environment)
    assert_clear(done, 3, "bcc is missing")
    assert "python3-bpfcc" in done.stderr
    sandbox.assert_nothing_left({})
    done = sandbox.run("doctor", env=environment)
    assert done.returncode == 3
    assert "MISS  bcc" in done.stdout
    assert "python3-bpfcc" in done.stdout


def test_no_bcc_needed_on_existing_pins(shared: Sandbox) -> None:
    """An agent takes over existing pins also where bcc has gone meanwhile."""
    policy = shared.policy(denying(9001))
    shared.load(policy)
    (shared.folder / "bcc.py").write_text("raise ImportError('no bcc here')\n")
    environment = os.environ | {"PYTHONPATH": f"{shared.folder}:{os.environ.get('PYTHONPATH', '')}"}
    done = shared.run("load", "--policy", policy, "--cgroup", shared.cgroup, env=environment)
    assert done.returncode == 0, done.stderr
    assert shared.binder().bind(9001) == "EACCES"


def assert_refused_then_mended(sandbox: Sandbox, *commands: str) -> None:
    """Each command ends with 3 and says how to remove the pins; `unload` does; `load` works."""
    policy = sandbox.policy(denying(9002))
    typed = {
        "run": ["run", *sandbox.run_options(policy)],
        "load": ["load", "--policy", policy, "--cgroup", sandbox.cgroup],
        "apply": ["apply", policy],
        "status": ["status"],
    }
    pins = sorted(sandbox.pin_dir.rglob("*"))
    for command in commands:
        done = sandbox.run(*typed[command])
        assert_clear(done, 3, "is not a pin of this version of portwatch")
        assert f"portwatch unload --pin-dir {sandbox.pin_dir}" in done.stderr
        assert sorted(sandbox.pin_dir.rglob("*")) == pins, "a refusal changes nothing"
    done = sandbox.run("unload")
    assert (done.returncode, done.stderr) == (0, "")
    sandbox.assert_nothing_left({})
    sandbox.load(policy)
    assert sandbox.binder().bind(9002) == "EACCES"


def test_pins_of_another_version(sandbox: Sandbox) -> None:
    """Pins of another version are refused with the way out, while they go on enforcing."""
    sandbox.load(sandbox.policy(denying(9001)))
    meta = PinDir(sandbox.pin_dir).open_map("meta")
    raw = meta.get(bytes(4))
    assert raw is not None
    other = layout.Meta.from_buffer_copy(raw)
    other.layout_sha256[:] = other.source_sha256[:] = [7] * 32
    meta.put(bytes(4), bytes(other))
    meta.close()
    assert sandbox.binder().bind(9001) == "EACCES"
    assert_refused_then_mended(sandbox, "run", "load")


@pytest.mark.parametrize("name", ["counters", "control", "violations", "meta", "events"])
def test_foreign_map(sandbox: Sandbox, name: str) -> None:
    """Another map under a pin's name is refused by everything, and `unload` removes it too."""
    sandbox.load(sandbox.policy(denying(9001)))
    pin = sandbox.pin_dir / "maps" / name
    pin.unlink()
    create = ["bpftool", "map", "create", str(pin), "type", "hash"]
    create += ["key", "8", "value", "8", "entries", "16", "name", "foreign"]
    made = run_command(create)
    assert made.returncode == 0, made.stderr
    commands = {"counters": "run load status", "events": "run load"}
    default = "run load apply status" if name != "violations" else "run load status"
    assert_refused_then_mended(sandbox, *commands.get(name, default).split())


def test_program_under_a_map_s_name(sandbox: Sandbox) -> None:
    """A pin that is not even a map is refused like any other foreign one."""
    sandbox.load(sandbox.policy(denying(9001)))
    (sandbox.pin_dir / "maps" / "counters").unlink()
    program = sandbox.pin_dir / "programs" / "bind4"
    again = ["bpftool", "prog", "pin", "pinned", program, sandbox.pin_dir / "maps" / "counters"]
    assert run_command(list(map(str, again))).returncode == 0
    assert_refused_then_mended(sandbox, "run", "load", "status")


@pytest.mark.parametrize("stray", ["pin", "directory", "map in maps", "directory in maps"])
def test_stray_things_in_the_pin_directory(sandbox: Sandbox, stray: str) -> None:
    """`unload` removes whatever lies in its pin directory, so that `load` works again."""
    sandbox.load(sandbox.policy(denying(9001)))
    programs = sandbox.program_ids()
    parent = sandbox.pin_dir / "maps" if "in maps" in stray else sandbox.pin_dir
    if "directory" in stray:
        (parent / "stray").mkdir()
    else:
        create = ["bpftool", "map", "create", str(parent / "stray"), "type", "hash"]
        create += ["key", "4", "value", "4", "entries", "1", "name", "stray"]
        assert run_command(create).returncode == 0
    done = sandbox.run("unload")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    sandbox.assert_nothing_left(programs)


def test_map_that_is_missing(sandbox: Sandbox) -> None:
    """Where one pin was removed by hand, the next `load` puts things right."""
    policy = sandbox.policy(denying(9001))
    sandbox.load(policy)
    (sandbox.pin_dir / "maps" / "violations").unlink()
    done = sandbox.run("status")
    assert "Traceback" not in done.stderr
    assert done.returncode == 3
    sandbox.load(policy)
    binder = sandbox.binder()
    assert binder.bind(9001) == "EACCES"
    facts = sandbox.status()
    assert sum(entry["count"] for entry in facts["violations"]) == 1


def test_load_interrupted_by_kill(sandbox: Sandbox) -> None:
    """A `load` that was killed half-way is finished by the next, or removed by `unload`."""
    policy = sandbox.policy(denying(9001))
    words = f"{PORTWATCH} load --policy {policy} --cgroup {sandbox.cgroup}"
    for seconds in (0.3, 0.6, 0.9):
        line = f"timeout -sKILL {seconds} {words} --pin-dir {sandbox.pin_dir}"
        run_command(["setsid", "-w", "sh", "-c", line])
    eventually(lambda: sandbox.run("load", *words.split()[2:]).returncode == 0)
    assert sandbox.binder().bind(9001) == "EACCES"
    assert sandbox.run("unload").returncode == 0
    sandbox.assert_nothing_left({})


def test_two_loads_at_once(sandbox: Sandbox) -> None:
    """Of two `load`s at the same moment one policy is in force; who was too late is told to try
    again."""
    loads = []
    for port in (9001, 9002):
        words = ["load", "--policy", sandbox.policy(denying(port), f"{port}.yaml")]
        words += ["--cgroup", sandbox.cgroup, "--pin-dir", sandbox.pin_dir]
        command = [PORTWATCH, *map(str, words)]
        loads.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    said = [load.communicate()[1] for load in loads]
    statuses = sorted(load.returncode for load in loads)
    assert statuses in ([0, 0], [0, 3]), said
    if statuses == [0, 3]:
        assert "hint: try again" in "".join(said)
    binder = sandbox.binder()
    assert sorted([binder.bind(9001), binder.bind(9002)]) == ["EACCES", "ok"]
    assert sandbox.attached() == list(ATTACHED)


def test_cgroup_removed_under_the_agent(sandbox: Sandbox) -> None:
    """Where the cgroup that it is attached to is removed, the agent says that it enforces
    nothing, and ends cleanly."""
    below = sandbox.make("attached")
    policy = sandbox.policy(denying(9001))
    agent = sandbox.agent(policy, "--cgroup", below)
    assert agent.metric("portwatch_enforcing") == 1
    below.rmdir()
    eventually(lambda: agent.metric("portwatch_enforcing") == 0)
    assert sandbox.status()["enforcing"] is False
    assert agent.end() == 0
    assert "Traceback" not in agent.log


def test_python_is_the_one_that_runs_portwatch() -> None:
    """These tests run the product beside them, not another installation."""
    assert Path(PORTWATCH).parent == Path(sys.executable).parent
