"""The kernel's own file systems that portwatch reads: mounted where they are not yet."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
SECURITYFS = Path("/sys/kernel/security")
MOUNT_FLAGS = 0xE  # nosuid nodev noexec


def mount(kind: str, directory: Path, options: str = "") -> None:
    """Mount a file system of that kind; OSError where it cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    what, where = kind.encode(), os.fsencode(directory)
    if libc.mount(what, where, what, MOUNT_FLAGS, options.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))


def active_lsms() -> tuple[str, ...]:
    """The kernel's active security modules, in order; none where it does not tell."""
    try:
        if not (SECURITYFS / "lsm").exists():
            mount("securityfs", SECURITYFS)
        return tuple((SECURITYFS / "lsm").read_text().strip().split(","))
    except OSError:
        return ()


def tracepoint_id(name: str) -> int:
    """What perf_event_open() calls a tracepoint, `group/name`; OSError where there is none."""
    if not (TRACEFS / "events").is_dir():
        mount("tracefs", TRACEFS, "mode=0700")
    return int((TRACEFS / "events" / name / "id").read_text())
