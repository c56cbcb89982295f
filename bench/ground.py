"""Scratch cgroups, pins and processes of a bench run; everything is gone at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from portwatch.agent.policy_source import LoadedPolicy
from portwatch.agent.publisher import Publisher, now_stored
from portwatch.kernel.loading import ensure_loaded, remove
from portwatch.kernel.pins import PinDir, ensure_bpffs
from portwatch.node.accounts import read_accounts
from portwatch.node.cgroups import CgroupTree, find_cgroup2
from portwatch.node.netns import host_network
from portwatch.node.paths import HostPaths

FIRST_PORT = 21000
HERE = Path(__file__).parent


@dataclass
class Ground:
    """Where the bench runs: a folder, the compiled loop, and the cgroups made so far."""

    folder: Path
    tree: CgroupTree
    loop: Path
    cgroups: list[Path] = field(default_factory=list)
    pin_dirs: list[PinDir] = field(default_factory=list)

    def cgroup(self, name: str) -> Path:
        """A new scratch cgroup."""
        path = self.tree.mount_point / f"portwatch-bench-{os.getpid()}-{name}"
        path.mkdir()
        self.cgroups.append(path)
        return path

    def path_of(self, cgroup: Path) -> str:
        """The cgroup's path as policies name it."""
        return self.tree.path_below(cgroup)

    def pin_dir(self, name: str) -> PinDir:
        """A pin directory of the bench's own, nothing in it yet."""
        pins = PinDir(Path(f"/sys/fs/bpf/portwatch-bench-{os.getpid()}-{name}"))
        self.pin_dirs.append(pins)
        return pins

    def guarded(self, name: str) -> tuple[Path, PinDir]:
        """A new cgroup with portwatch loaded on it."""
        cgroup, pins = self.cgroup(name), self.pin_dir(name)
        ensure_loaded(pins, cgroup)
        return cgroup, pins

    def binds(
        self,
        cgroup: Path,
        count: int,
        port: int = FIRST_PORT,
        ports: int = 1,
        rate: int = 0,
        listening: bool = False,
    ) -> float:
        """Nanoseconds per socket+bind+close, of `count` in that cgroup, `rate` a second."""
        command = [str(self.loop), str(cgroup), *map(str, (count, port, ports, rate))]
        command += ["listen"] if listening else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[0])

    def system_call(self, cgroup: Path, count: int) -> float:
        """Nanoseconds per getppid(), which does nothing."""
        return self.binds(cgroup, count, ports=0)

    def publisher(self, pins: PinDir) -> Publisher:
        """Close it after use."""
        return Publisher(pins, self.tree, host_network(HostPaths()))

    def publish(self, pins: PinDir, text: str) -> None:
        """Put a policy in force."""
        with contextlib.closing(self.publisher(pins)) as publisher:
            loaded = loaded_policy(text)
            stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
            publisher.publish(loaded.policy, stored, read_accounts())


@contextlib.contextmanager
def prepared() -> Iterator[Ground]:
    """Compile the loop, hand out the ground, and take all of it away in the end."""
    ensure_bpffs(PinDir().path)
    with tempfile.TemporaryDirectory(prefix="portwatch-bench-") as name:
        folder = Path(name)
        loop = folder / "bind_loop"
        subprocess.run(["gcc", "-O2", "-o", str(loop), str(HERE / "bind_loop.c")], check=True)
        ground = Ground(folder, CgroupTree(find_cgroup2(HostPaths())), loop)
        try:
            yield ground
        finally:
            for pins in ground.pin_dirs:
                remove(pins)
            for cgroup in reversed(ground.cgroups):
                cgroup.rmdir()


def loaded_policy(text: str) -> LoadedPolicy:
    """A policy text as the agent would have it."""
    return LoadedPolicy.parse([("bench.yaml", text)], "bench.yaml", None)


def policy_text(constraints: int, mine: str) -> str:
    """`constraints` constraints, all but the last about units of others; the last one allows the
    cgroup `mine` the bench's ports, so that its binds have to find who they are."""
    lines = ["version: 1", "mode: enforce", "constraints:"]
    for number in range(constraints - 1):
        first = 1024 + number * 19
        lines.append(
            f"  - {{name: c{number}, for: {{unit: svc-{number}.service}}, "
            f"allow: [{first}-{first + 9}, {first + 12}/tcp]}}"
        )
    lines.append(
        f"  - {{name: mine, for: {{cgroup: {mine}}}, allow: [{FIRST_PORT}-{FIRST_PORT + 999}]}}"
    )
    return "\n".join(lines)
