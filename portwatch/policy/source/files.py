"""The files that a path means: itself, or a directory's `*.yaml` in name order.

Policies, catalogs and cases are found alike. Imports nothing of portwatch but `errors` and
`document`'s bounds.
"""

from __future__ import annotations

from pathlib import Path

from portwatch.errors import UsageError
from portwatch.policy.source.document import MAX_BYTES

MAX_FILES = 256


def read_files(path: Path, what: str) -> list[tuple[str, bytes]]:
    """Read them: (name, bytes) in order, none where a directory has none. `what` they are stands
    in messages, such as `policy`.

    Raises UsageError where they cannot be read, or are too many.
    """
    try:
        if not path.is_dir():
            return [(str(path), _read(path))]
        # Hidden files are editors' and package managers' leftovers, as for systemd's *.d.
        files = sorted(p for p in path.glob("*.yaml") if not p.name.startswith("."))
        sources = []
        room = MAX_BYTES
        for file in files[: MAX_FILES + 1]:
            if room >= 0 and file.is_file():  # past it, what was read is refused already
                sources.append((str(file), _read(file)))
                room -= len(sources[-1][1])
    except OSError as err:
        message = f"cannot read the {what} {err.filename or path}: {err.strerror or err}"
        raise UsageError(message, hint="check the path and its permissions") from err
    except ValueError as err:  # a NUL in the path
        raise UsageError(f"cannot read the {what} {str(path)!r}: {err}") from err
    if len(files) > MAX_FILES:
        raise UsageError(f"{path} holds more than {MAX_FILES} {what} files")
    return sources


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
