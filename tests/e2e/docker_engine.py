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
    "--exec-opt=native.cgroupdriver=cgroupfs",
    "--storage-driver=vfs",
    "--live-restore",
    "--log-level=error",
)
NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")


@contextmanager
def docker(cgroup: Path, own_network: bool = False) -> Iterator[Engine]:
    """Docker with its API served; `cgroup` must not exist yet. In a network namespace of its own it
    makes a bridge there and publishes ports; else it leaves the machine's network alone."""
    folder = Path(mkdtemp(prefix="portwatch-docker-"))
    api = folder / "docker.sock"
    client = ["/usr/bin/docker", f"--host=unix://{api}", f"--config={folder}"]
    try:
        with engine_room(cgroup, own_network) as room:
            server = [*DAEMON, *(() if own_network else NO_NETWORK), f"--host=unix://{api}"]
            engine = Engine("docker", room, api, server, client)
            try:
                engine.start()
                engine.cli("load", "--input", image_archive())
                yield engine
            finally:
                engine.stop()
    finally:
        shutil.rmtree(folder)
