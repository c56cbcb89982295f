"""The image that the tests' containers are made from: one static program and nothing else."""

from __future__ import annotations

import atexit
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_name("container_binder.c")
PROGRAM = "/bin/bind"
IMAGE = "localhost/binder:latest"


@cache
def image_archive() -> Path:
    """The root file system as a tar file; made once per process and removed at its end."""
    folder = TemporaryDirectory(prefix="portwatch-image-")
    atexit.register(folder.cleanup)
    program = Path(folder.name) / "bind"
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-o", program, SOURCE], check=True)
    archive = program.with_name("image.tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(program, PROGRAM)
    return archive
