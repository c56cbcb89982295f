"""What tests do with pins by hand: look behind them, make them another's, wait for a link to go."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from binder import Binder

from portwatch.kernel import libbpf, loading
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.pins import PinDir

DENY = "version: 1\nmode: enforce\nconstraints:\n  - {name: no-9000, deny: [9000]}\n"
CGROUP_HOOKS = [hook.name for hook in HOOKS if hook.is_cgroup]
LAZY_SECONDS = 2.0  # the kernel detaches an unpinned link from a work queue


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of what is pinned there."""
    fd = libbpf.object_get(str(path))
    try:
        yield fd
    finally:
        os.close(fd)


def link_ids(pin_dir: PinDir) -> dict[str, tuple[int, int]]:
    """Hook → (link id, id of the program behind it)."""
    found = {}
    for hook in CGROUP_HOOKS:
        with opened(pin_dir.links / hook) as fd:
            info = libbpf.object_info(fd, libbpf.LinkInfo())
        found[hook] = (info.id, info.prog_id)
    return found


def program_ids(pin_dir: PinDir) -> dict[str, int]:
    """Hook → id of the pinned program."""
    found = {}
    for path in pin_dir.programs.iterdir():
        with opened(path) as fd:
            found[path.name] = int(libbpf.object_info(fd, libbpf.ProgramInfo()).id)
    return found


def map_ids(pin_dir: PinDir) -> dict[str, int]:
    """Map → its id."""
    found = {}
    for path in pin_dir.maps.iterdir():
        with opened(path) as fd:
            found[path.name] = int(libbpf.object_info(fd, libbpf.MapInfo()).id)
    return found


def assert_links_run_what_is_pinned(pin_dir: PinDir) -> None:
    """A hook's pinned program is the one that its link runs."""
    programs = program_ids(pin_dir)
    assert {hook: program for hook, (_, program) in link_ids(pin_dir).items()} == {
        hook: programs[hook] for hook in CGROUP_HOOKS
    }


def rewrite_meta(pin_dir: PinDir, **fields: bytes) -> None:
    """Make the pins look as if they were of another version."""
    meta = loading.read_meta(pin_dir)
    for name, value in fields.items():
        setattr(meta, name, (ctypes.c_uint8 * 32)(*value))
    pinned = pin_dir.open_map("meta")
    pinned.put(bytes(4), bytes(meta))
    pinned.close()


def put_foreign_map(pin_dir: PinDir, name: str) -> None:
    """Pin a map of somebody else's under one of our names."""
    fd = libbpf.check(
        libbpf.library().bpf_map_create(libbpf.MAP_ARRAY, b"foreign", 4, 4, 1, None), "foreign"
    )
    (pin_dir.maps / name).unlink(missing_ok=True)
    libbpf.object_pin(fd, str(pin_dir.maps / name))
    os.close(fd)


def passes_soon(binder: Binder, address: str = "127.0.0.1") -> bool:
    """Whether a bind to the denied port goes through before long."""
    deadline = time.monotonic() + LAZY_SECONDS
    while binder.bind(9000, address) != "ok":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
