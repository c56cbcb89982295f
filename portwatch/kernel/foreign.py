"""Other people's programs on the bind hooks, which may change a port after it was judged.

Programs of a cgroup run before its ancestors', and those of one cgroup in the order in which they
were attached: what is above ours, or beside it and later, has the last word.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from portwatch.kernel import libbpf
from portwatch.kernel.hooks import ATTACH_INET4_BIND, ATTACH_INET6_BIND
from portwatch.kernel.pins import PinDir

MAX_PROGRAMS = 64  # as many as the kernel lets be attached to one cgroup and hook


Chain = tuple[tuple[int, ...], ...]
"""The ids of the programs on a cgroup, and on each of its ancestors in turn, in the order in which
they run."""


def chains(cgroup: Path, root: Path) -> tuple[Chain, ...]:
    """The programs that a bind in `cgroup` runs through, one chain for each bind hook.

    `root` is where the hierarchy is mounted. Attached as links or not: both are seen.
    """
    path = [cgroup]
    while path[-1] != root and root in path[-1].parents:
        path.append(path[-1].parent)
    return tuple(
        tuple(tuple(_attached(one, attach_type)) for one in path)
        for attach_type in (ATTACH_INET4_BIND, ATTACH_INET6_BIND)
    )


def others_run_after(found: Iterable[Chain], own: Iterable[int]) -> bool:
    """Whether a program that is not among `own` (ids) runs after ours, which come first in each
    chain."""
    ours = {_tag(number) for number in own}
    for beside, *above in found:
        tags = [_tag(number) for number in beside]
        last_own = max((i for i, tag in enumerate(tags) if tag in ours), default=-1)
        if len(tags) > last_own + 1:
            return True
        if any(_tag(number) not in ours for numbers in above for number in numbers):
            return True
    return False


def own_programs(pin_dir: PinDir) -> list[int]:
    """Ids of this pin directory's programs on the bind hooks; OSError where they are gone."""
    found = []
    for name in ("bind4", "bind6"):
        fd = libbpf.object_get(str(pin_dir.programs / name))
        try:
            found.append(int(libbpf.object_info(fd, libbpf.ProgramInfo()).id))
        finally:
            os.close(fd)
    return found


def _attached(cgroup: Path, attach_type: int) -> list[int]:
    """Ids of the programs on a cgroup, in the order in which they run."""
    flags, count = ctypes.c_uint32(), ctypes.c_uint32(MAX_PROGRAMS)
    numbers = (ctypes.c_uint32 * MAX_PROGRAMS)()
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        result = libbpf.library().bpf_prog_query(
            fd, attach_type, 0, ctypes.byref(flags), numbers, ctypes.byref(count)
        )
        libbpf.check(result, f"programs on {cgroup}")
    finally:
        os.close(fd)
    return list(numbers[: count.value])


def _tag(number: int) -> bytes:
    """The digest of a program's instructions: another portwatch's is the same, and harmless."""
    fd = libbpf.library().bpf_prog_get_fd_by_id(number)
    if fd < 0:
        return b""  # gone since
    try:
        return bytes(libbpf.object_info(fd, libbpf.ProgramInfo()).tag)
    finally:
        os.close(fd)
