"""Where a container engine lives for a test: mounts of its own, one cgroup for all it starts.

It has a /run, /dev/shm and /var/lib of its own that vanish with its last process, and sees cgroup2
where engines look for it. Everything in it ends with its cgroup, whoever its parent is by then.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from product import eventually, run_command
from scratch import remove_cgroup

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

MOUNTS = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /var/lib
mount -t cgroup2 cgroup2 /sys/fs/cgroup
touch /run/subtree_control
for cgroup in "$@"; do
    mount --bind /run/subtree_control "/sys/fs/cgroup/$cgroup/cgroup.subtree_control"
done
echo ready
exec sleep infinity
"""
"""Its arguments: the engine's cgroup and those above. Engines hand controllers down on the way to a
container, and a cgroup that does so takes no process (cgroup-v2.rst, "No Internal Process
Constraint"): here what they write goes to a file, so that all stay as they are."""

JOIN = 'echo 0 >"$0" && exec "$@"'


@dataclass(frozen=True)
class EngineRoom:
    """`cgroup` is that of the engine and of all its containers; `keeper` holds the mounts, and the
    network where the engine has one of its own."""

    cgroup: Path
    keeper: int
    own_network: bool = False

    def command(self, *arguments: object) -> list[str]:
        """A command line that runs in here, in the engine's own cgroup.

        `podman system service` moves whatever shares the root cgroup with it; it never does so
        from here.
        """
        enter = ["nsenter", "--mount", f"--target={self.keeper}", "--wd=/"]
        enter += ["--net"] if self.own_network else []
        return [*_joining(self.cgroup / "engine"), *enter, *map(str, arguments)]

    def run(self, *arguments: object, **more: Any) -> str:
        """Run a command to its end: its output; AssertionError with what it said where it fails."""
        done = run_command(self.command(*arguments), **more)
        assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def engine_room(cgroup: Path, own_network: bool = False) -> Iterator[EngineRoom]:
    """A room whose cgroup, which must not exist yet, is removed at the end with all in it."""
    path = cgroup.relative_to(find_cgroup2(HostPaths()))
    cgroup.mkdir()
    (cgroup / "engine").mkdir()
    keeper = None
    try:
        keeper = subprocess.Popen(
            [
                *(*_joining(cgroup / "engine"), "unshare", "--mount"),
                *(["--net"] if own_network else []),
                *("sh", "-c", MOUNTS, "sh"),
                *map(str, [path, *path.parents]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert keeper.stdout and keeper.stdout.readline() == b"ready\n"
        yield EngineRoom(cgroup, keeper.pid, own_network)
    finally:
        (cgroup / "cgroup.kill").write_text("1")
        if keeper:
            keeper.communicate()
        eventually(lambda: "populated 0" in (cgroup / "cgroup.events").read_text(), 20)
        remove_cgroup(cgroup)


def _joining(cgroup: Path) -> list[str]:
    return ["sh", "-c", JOIN, str(cgroup / "cgroup.procs")]
