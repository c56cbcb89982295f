"""The units that systemd knows of, running or not: the names of their files, systemd.unit(5)."""

from __future__ import annotations

import os
from pathlib import Path

DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/transient",
    "run/systemd/generator",
    "run/systemd/generator.early",
    "run/systemd/generator.late",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)


def unit_files(root: Path = Path("/")) -> set[str]:
    """Names of the system manager's unit files, templates (`getty@.service`) and aliases among
    them; those that cannot be listed are left out."""
    found: set[str] = set()
    for directory in DIRECTORIES:
        try:
            names = os.listdir(root / directory)
        except OSError:
            continue
        found.update(name for name in names if "." in name and not name.endswith((".d", ".wants")))
    return found
