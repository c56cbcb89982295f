"""A file replaced as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from portwatch.errors import UsageError


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` where `path`, or what it links to, is; owner and mode stay. UsageError."""
    path = path.resolve()
    temporary = ""
    try:
        before = path.stat()
        # Hidden and no *.yaml: nobody takes it for a policy.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise UsageError(
            f"cannot write {path}: {err.strerror}", hint="--dry-run shows what would be written"
        ) from err
