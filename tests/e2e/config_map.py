"""A ConfigMap's directory, kept as the kubelet keeps it.

Its AtomicWriter (kubernetes/pkg/volume/util/atomic_writer.go) writes every version into a
directory named after the time, swaps the link `..data` to it by a rename, then makes and removes
the links that users see, and removes the version before.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

_versions = itertools.count()


def publish(volume: Path, files: Mapping[str, str]) -> None:
    """Make `files` the volume's content, step by step as the kubelet does."""
    data, new_data = volume / "..data", volume / "..data_tmp"
    before = Path(os.readlink(data)).name if data.is_symlink() else None
    version = volume / f"..2026_11_26_20_30_{next(_versions):02d}.{os.getpid()}"
    version.mkdir(mode=0o755)
    for name, text in files.items():
        (version / name).write_text(text)
        (version / name).chmod(0o644)
    new_data.symlink_to(version.name)
    new_data.rename(data)
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for path in volume.iterdir():
        if not path.name.startswith("..") and path.name not in files:
            path.unlink()
    if before:
        shutil.rmtree(volume / before)
