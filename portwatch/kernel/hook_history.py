"""What became of hooks' programs before these: runs of those that were replaced, and how often a
hook that somebody had detached was attached again.

A new program begins at 0, and what the kernel's BPF statistics say of one goes with it; a counter
may do neither. So a map of userspace's own keeps it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from portwatch.kernel import libbpf
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.maps import HOOK_NAME_BYTES


class HookHistory(NamedTuple):
    """Runs of all the programs that were replaced and their time in ns; times attached again."""

    runs: int = 0
    run_ns: int = 0
    reattached: int = 0


_RECORD = struct.Struct("<QQQ")


def hook_histories(kept: BpfMap) -> dict[str, HookHistory]:
    """By the hook's name."""
    return {
        key.rstrip(b"\0").decode(): HookHistory(*_RECORD.unpack(value))
        for key, value in kept.items()
    }


@contextlib.contextmanager
def runs_kept(kept: BpfMap, pin: Path) -> Iterator[None]:
    """Within, the program that is pinned there is replaced; at the end its runs are kept."""
    try:
        before = libbpf.object_get(str(pin))
    except OSError:
        yield
        return
    try:
        yield
        info = libbpf.object_info(before, libbpf.ProgramInfo())
    finally:
        os.close(before)
    if info.run_cnt:
        _add(kept, pin.name, HookHistory(runs=info.run_cnt, run_ns=info.run_time_ns))


def keep_reattached(kept: BpfMap, name: str) -> None:
    """A hook was found detached and has been attached again."""
    _add(kept, name, HookHistory(reattached=1))


def _add(kept: BpfMap, name: str, more: HookHistory) -> None:
    key = name.encode().ljust(HOOK_NAME_BYTES, b"\0")
    before = _RECORD.unpack(kept.get(key) or bytes(_RECORD.size))
    kept.put(key, _RECORD.pack(*map(sum, zip(before, more, strict=True))))
