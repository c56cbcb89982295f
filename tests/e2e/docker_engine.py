"""Docker for a test: a daemon of its own, with a containerd of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from container_image import image_archive
from containers import Engine
from engine_room import engine_room

DAEMON = (
    "dockerd",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--exec-opt=native.cgroupdriver=cgroupfs",
    "--storage-driver=vfs",
    "--live-restore",
    "--log-level=error",
)


@contextmanager
def docker(cgroup: Path) -> Iterator[Engine]:
    """Docker with its API served; `cgroup` must not exist yet."""
    folder = Path(mkdtemp(prefix="portwatch-docker-"))
    api = folder / "docker.sock"
    client = ["/usr/bin/docker", f"--host=unix://{api}", f"--config={folder}"]
    try:
        with engine_room(cgroup) as room:
            server = [*DAEMON, f"--host=unix://{api}"]
            engine = Engine("docker", room, api, server, client)
            try:
                engine.start()
                engine.cli("load", "--input", image_archive())
                yield engine
            finally:
                engine.stop()
    finally:
        shutil.rmtree(folder)
