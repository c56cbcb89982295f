"""Files of root's own, which nobody else may read, write, or put there in its place."""

from __future__ import annotations

import os
from pathlib import Path


def read_root_file(path: Path, max_bytes: int) -> bytes | None:
    """Return what is there, at most so much of it; None where there is no such file, or it is
    another's. OSError."""
    try:
        with path.open("rb") as opened:
            if os.fstat(opened.fileno()).st_uid != 0:
                return None
            return opened.read(max_bytes)
    except FileNotFoundError:
        return None


def write_root_file(path: Path, text: str, directory_mode: int) -> None:
    """Write it, whole or not at all, with mode 0600; its directory is made where there is none.
    OSError."""
    beside = path.with_suffix(".new")
    path.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write(text)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
