"""Podman for a test: its containers, its pods, its Docker-compatible API."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from container_image import IMAGE, PROGRAM, image_archive
from containers import Container, Endpoint, Engine
from engine_room import engine_room

# Ulimits: the defaults are above what a process without CAP_SYS_RESOURCE may ask for. Pids: the
# controller is in no cgroup2 hierarchy here.
SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000", "memlock=65536:65536"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""


class Podman(Engine):
    """Has pods as well."""

    def pod(self, name: str, network: str = "host") -> str:
        """A pod, with its infra container: its id. `run_in` puts containers into it."""
        pod = self.cli(
            *("pod", "create", f"--name={name}", f"--network={network}"),
            *(f"--cgroup-parent={self.path}", f"--infra-image={IMAGE}"),
            f"--infra-command={PROGRAM}",
        ).strip()
        _let_open_devices(self.room.cgroup / pod)
        return pod

    def run_in(self, pod: str, name: str, *binds: Endpoint) -> Container:
        """`run` in a pod, given by its name or id; its network is the pod's."""
        return self.run_with(name, binds, [f"--pod={pod}"])


@contextmanager
def podman(cgroup: Path, serving: bool = True, own_network: bool = False) -> Iterator[Podman]:
    """Podman with its API served, or to be started by the test; `cgroup` must not exist yet."""
    folder = Path(mkdtemp(prefix="portwatch-podman-"))
    settings = folder / "containers.conf"
    settings.write_text(SETTINGS)
    client = ["podman", "--storage-driver=vfs"]
    api = folder / "podman.sock"
    server = [*client, "system", "service", "--time=0", f"unix://{api}"]
    try:
        with engine_room(cgroup, own_network) as room:
            settings_at = {"CONTAINERS_CONF": str(settings)}
            engine = Podman("podman", room, api, server, client, environment=settings_at)
            engine.cli("load", "--input", image_archive())
            try:
                if serving:
                    engine.start()
                yield engine
            finally:
                engine.stop()
    finally:
        shutil.rmtree(folder)


def _let_open_devices(pod: Path) -> None:
    """Podman 4.3 attaches a program that refuses every device to the cgroup that it makes for a
    pod: on cgroup2 not even /dev/null can be opened below it, so nothing starts."""
    shown = subprocess.run(
        ["bpftool", "--json", "cgroup", "show", pod], check=True, capture_output=True
    )
    for program in json.loads(shown.stdout or "[]"):
        which = ["cgroup_device", "id", str(program["id"]), "multi"]
        subprocess.run(["bpftool", "cgroup", "detach", pod, *which], check=True)
