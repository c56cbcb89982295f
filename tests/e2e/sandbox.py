"""A scratch cgroup with a pin directory of its own, and everything a test starts on them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binder import Binder
from product import AgentProcess, Done, eventually, portwatch, run_command
from scratch import remove_cgroup

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

BPFFS = Path("/sys/fs/bpf")
RUN_DIRECTORY = Path("/run/portwatch")
STATE_DIRECTORY = Path("/var/lib/portwatch")
HOOKS = ("bind4", "bind6", "post_bind4", "post_bind6", "listen")
ATTACHED = (
    *("cgroup_inet4_bind", "cgroup_inet4_post_bind"),
    *("cgroup_inet6_bind", "cgroup_inet6_post_bind"),
    "cgroup_sock_ops",
)
"""What bpftool calls them, in its order of names."""

_numbers = itertools.count(1)


@dataclass
class Sandbox:
    """Where one test plays: `cgroup` is what the programs are attached to, `home`, there or
    below, where this test's processes are; `folder` is for its files."""

    cgroup: Path
    pin_dir: Path
    folder: Path
    home: Path
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def path(self) -> str:
        """The home as policies and events call it."""
        return f"/{self.home.relative_to(self.cgroup.parent)}"

    @property
    def socket(self) -> Path:
        """Where an agent on these pins serves its events."""
        digest = hashlib.sha256(str(self.pin_dir).encode()).hexdigest()[:12]
        return RUN_DIRECTORY / f"events-{digest}.sock"

    def policy(self, text: str, name: str = "policy.yaml") -> Path:
        """A policy file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, command: str, *arguments: object, **more: Any) -> Done:
        """A command on these pins, to its end."""
        return portwatch(command, *arguments, "--pin-dir", self.pin_dir, **more)

    def load(self, policy: Path, *options: object) -> Done:
        """`portwatch load`, which has to succeed."""
        done = self.run("load", "--policy", policy, "--cgroup", self.cgroup, *options)
        assert done.returncode == 0, done.stderr
        return done

    def status(self) -> dict[str, Any]:
        """`portwatch status`, which has to succeed."""
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    def run_options(self, policy: Path | None, *options: object) -> list[object]:
        """What `run` is given."""
        given: list[object] = ["--cgroup", self.cgroup, "--pin-dir", self.pin_dir]
        if policy is not None:
            given += ["--policy", policy]
        if "--listen" not in options:
            given += ["--listen", "127.0.0.1:0"]
        return [*given, *options]

    def start(self, policy: Path | None, *options: object, **more: Any) -> AgentProcess:
        """`portwatch run`, just started."""
        agent = AgentProcess(self.run_options(policy, *options), self.path, **more)
        self.stack.callback(agent.close)
        return agent

    def agent(self, policy: Path | None, *options: object, **more: Any) -> AgentProcess:
        """`portwatch run`, ready."""
        return self.start(policy, *options, **more).wait_until_ready()

    @property
    def kept_policy(self) -> Path:
        """Where the last good policy outlives the pins."""
        return STATE_DIRECTORY / self.socket.name.replace("events", "policy").replace(
            "sock", "json"
        )

    def lose_pins(self) -> None:
        """What a reboot does: with the pins all enforcement goes, and nothing else."""
        shutil.rmtree(self.pin_dir)
        eventually(lambda: not self.attached(), what="nothing is attached")

    def make(self, name: str) -> Path:
        """A new cgroup in the home."""
        below = self.home / name
        below.mkdir()
        self.stack.callback(_remove_if_there, below)
        return below

    def binder(self, cgroup: Path | None = None, **more: Any) -> Binder:
        """A process at home, or in another cgroup, that binds."""
        binder = Binder(cgroup or self.home, **more)
        self.stack.callback(binder.close)
        return binder

    def program_ids(self) -> dict[str, int]:
        """The kernel's number of each hook's program."""
        return {hook: _pinned_id("prog", self.pin_dir / "programs" / hook) for hook in HOOKS}

    def attached(self) -> list[str]:
        """What the kernel says is attached to the cgroup, sorted."""
        done = run_command(["bpftool", "--json", "cgroup", "show", str(self.cgroup)])
        return sorted(program["attach_type"] for program in json.loads(done.stdout.strip() or "[]"))

    def assert_nothing_left(self, programs: dict[str, int]) -> None:
        """No pin, no attachment, no program, no socket, no policy."""
        assert not self.pin_dir.exists(), sorted(self.pin_dir.rglob("*"))
        assert self.attached() == []
        assert not self.socket.exists()
        assert not self.kept_policy.exists()
        for number in programs.values():
            eventually(lambda n=number: not _program_lives(n), what=f"program {number} is gone")


def _pinned_id(kind: str, path: Path) -> int:
    done = run_command(["bpftool", "--json", kind, "show", "pinned", str(path)])
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads(done.stdout)["id"])


def _program_lives(number: int) -> bool:
    return run_command(["bpftool", "prog", "show", "id", str(number)]).returncode == 0


def _remove_if_there(cgroup: Path) -> None:
    if cgroup.exists():
        remove_cgroup(cgroup)


@contextmanager
def temporary_sandbox(folder: Path) -> Iterator[Sandbox]:
    """A sandbox with nothing loaded; at the end nothing of it is left."""
    name = f"portwatch-e2e-{os.getpid()}-{next(_numbers)}"
    cgroup = find_cgroup2(HostPaths()) / name
    cgroup.mkdir()
    sandbox = Sandbox(cgroup, BPFFS / name, folder, cgroup)
    try:
        with sandbox.stack:
            yield sandbox
    finally:
        sandbox.run("unload")
        remove_cgroup(cgroup)
        sandbox.socket.unlink(missing_ok=True)
        shutil.rmtree(sandbox.pin_dir, ignore_errors=True)
        assert not sandbox.pin_dir.exists()


def denying(
    *ports: int | str, who: str | None = None, mode: str = "enforce", more: str = ""
) -> str:
    """A policy of one constraint, `no-such-port`, that denies these ports."""
    subject = f'for: {{cgroup: "{who}"}}, ' if who else ""
    listed = ", ".join(map(str, ports))
    return (
        f"version: 1\nmode: {mode}\nconstraints:\n"
        f"  - {{name: no-such-port, {subject}deny: [{listed}], reason: not here{more}}}\n"
    )
