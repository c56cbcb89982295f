"""Runs of hooks' programs that were replaced: a new program begins at 0, a counter may not.

What the kernel's BPF statistics say of a program goes with it; a map of userspace's own keeps it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from portwatch.kernel import libbpf
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.maps import HOOK_NAME_BYTES

RUNS = struct.Struct("<QQ")  # runs, and their time in ns


def past_runs(hook_runs: BpfMap) -> dict[str, tuple[int, int]]:
    """Hook name → runs and ns of all the programs that were replaced."""
    found = {}
    for key, value in hook_runs.items():
        runs, run_ns = RUNS.unpack(value)
        found[key.rstrip(b"\0").decode()] = (runs, run_ns)
    return found


@contextlib.contextmanager
def runs_kept(hook_runs: BpfMap, pin: Path) -> Iterator[None]:
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
        key = pin.name.encode().ljust(HOOK_NAME_BYTES, b"\0")
        runs, run_ns = RUNS.unpack(hook_runs.get(key) or bytes(RUNS.size))
        hook_runs.put(key, RUNS.pack(runs + info.run_cnt, run_ns + info.run_time_ns))
