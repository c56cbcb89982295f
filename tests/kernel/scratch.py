"""Scratch cgroups and pin directories that never stay behind, for kernel and end-to-end tests.

No skipping: without root or BPF these fail, and so do the tests that use them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portwatch.kernel import loading
from portwatch.kernel.pins import PinDir
from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

BPFFS = Path("/sys/fs/bpf")
EMPTY_SECONDS = 5.0

_numbers = itertools.count(1)


def fresh_name() -> str:
    """A name that no other test, or run of the tests, has."""
    return f"portwatch-test-{os.getpid()}-{next(_numbers)}"


@contextmanager
def temporary_cgroup() -> Iterator[Path]:
    """A cgroup directly below the cgroup2 mount; removed at the end with all below it."""
    directory = find_cgroup2(HostPaths()) / fresh_name()
    directory.mkdir()
    try:
        yield directory
    finally:
        remove_cgroup(directory)


def remove_cgroup(directory: Path) -> None:
    """Remove a cgroup and all below it, as soon as the processes that were told to end have."""
    deadline = time.monotonic() + EMPTY_SECONDS
    for path, _, _ in os.walk(directory, topdown=False):
        while True:
            try:
                Path(path).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                break


@contextmanager
def temporary_pin_dir() -> Iterator[PinDir]:
    """A pin directory that does not exist yet; unloaded and removed at the end."""
    pin_dir = PinDir(BPFFS / fresh_name())
    try:
        yield pin_dir
    finally:
        with contextlib.suppress(FileNotFoundError):
            loading.remove(pin_dir)
