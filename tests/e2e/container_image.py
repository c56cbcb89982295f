"""The image that the tests' containers are made from: one static program and nothing else."""

from __future__ import annotations

import atexit
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_name("container_binder.c")
PROGRAM = "/bin/bind"
IMAGE = "localhost/binder:latest"


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as Go names them


@cache
def image_archive() -> Path:
    """The image as `docker load` takes it; made once per process and removed at its end."""
    folder = TemporaryDirectory(prefix="portwatch-image-")
    atexit.register(folder.cleanup)
    program, layer, config, manifest, archive = (
        Path(folder.name) / name
        for name in ("bind", "layer.tar", "config.json", "manifest.json", "image.tar")
    )
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-o", program, SOURCE], check=True)
    _pack(layer, {PROGRAM: program})
    machine, digest = platform.machine(), sha256(layer.read_bytes()).hexdigest()
    facts = {
        "os": "linux",
        "architecture": ARCHITECTURES.get(machine, machine),
        "config": {"Cmd": [PROGRAM]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{digest}"],
        },
    }
    config.write_text(json.dumps(facts))
    named = {"Config": config.name, "RepoTags": [IMAGE], "Layers": [layer.name]}
    manifest.write_text(json.dumps([named]))
    _pack(archive, {path.name: path for path in (manifest, config, layer)})
    return archive


def _pack(archive: Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, path in files.items():
            tar.add(path, name)
