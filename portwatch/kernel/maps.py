"""Every map: its type, its records, its bound and why that bound; making and checking them.

A map's name here is its pin's name and, as FD_name, how the programs call it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import sizeof
from dataclasses import dataclass

from portwatch.kernel import btf, layout, libbpf

POLICY_CHUNK_BYTES = 4096
NAME_BYTES = 256
HOOK_NAME_BYTES = 32


@dataclass(frozen=True)
class MapSpec:
    """One map; sizes in bytes, `reason` says why `max_entries` is what it is."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    reason: str
    types: Callable[[], btf.MapTypes] | None = None


def _hash(key: type[ctypes.Structure], value_size: int, entries: int, reason: str) -> MapSpec:
    return MapSpec(libbpf.MAP_HASH, sizeof(key), value_size, entries, libbpf.F_NO_PREALLOC, reason)


def _violation_types() -> btf.MapTypes:
    return btf.load_violation_types(
        sizeof(layout.ViolationKey), sizeof(layout.Violation), layout.Violation.lock.offset
    )


MAPS: dict[str, MapSpec] = {
    "control": MapSpec(
        libbpf.MAP_ARRAY, 4, sizeof(layout.Control), 1, libbpf.F_MMAPABLE, "the word of the swap"
    ),
    "tables": MapSpec(
        libbpf.MAP_ARRAY,
        4,
        sizeof(layout.Tables),
        2,
        libbpf.F_MMAPABLE,
        "two slots: the live policy and the next",
    ),
    "addresses": MapSpec(
        libbpf.MAP_LPM_TRIE,
        sizeof(layout.AddressKey),
        4,
        2 * 16384,
        libbpf.F_NO_PREALLOC,
        "16,384 prefixes in each of two policies",
    ),
    "cgroups": _hash(
        layout.CgroupKey, sizeof(layout.CgroupClass), 2 * 32768, "32,768 cgroups, two policies"
    ),
    "accounts": _hash(layout.AccountKey, 4, 2 * 16384, "16,384 users and groups, two policies"),
    "counters": MapSpec(
        libbpf.MAP_PERCPU_ARRAY, 4, sizeof(layout.Counters), 1, 0, "one record on each CPU"
    ),
    "violations": MapSpec(
        libbpf.MAP_HASH,
        sizeof(layout.ViolationKey),
        sizeof(layout.Violation),
        65536,
        libbpf.F_NO_PREALLOC,
        "far past what a dashboard can show; the rest is counted under one entry",
        _violation_types,
    ),
    "told": MapSpec(
        libbpf.MAP_HASH,
        sizeof(layout.ViolationKey),
        16,
        65536,
        libbpf.F_NO_PREALLOC,
        "as many as there are violations",
    ),
    "observed": MapSpec(
        libbpf.MAP_LRU_HASH,
        sizeof(layout.ObservedKey),
        sizeof(layout.Observed),
        16384,
        0,
        "what `learn` can tell apart; the least recently seen goes",
    ),
    "collisions": _hash(
        layout.CollisionKey,
        sizeof(layout.Collision),
        16384,
        "ports that workloads fought over; the rest is counted under one entry",
    ),
    "published": _hash(
        layout.PublishedKey, 4, 16384, "ports that NAT gives to others, three entries each at most"
    ),
    "denied_threads": MapSpec(
        libbpf.MAP_LRU_HASH, 8, 8, 4096, 0, "from a denial with EADDRINUSE to the end of its bind()"
    ),
    "marks": MapSpec(
        libbpf.MAP_SK_STORAGE,
        4,
        sizeof(layout.Mark),
        0,
        libbpf.F_NO_PREALLOC,
        "lives and dies with its socket",
        btf.load_socket_mark_types,
    ),
    "events": MapSpec(
        libbpf.MAP_RINGBUF,
        0,
        0,
        1024 * 1024,
        0,
        "3,800 events, a fifth of a second at 20,000/s; the agent's memory has it twice",
    ),
    "cgroup_events": MapSpec(
        libbpf.MAP_RINGBUF, 0, 0, 512 * 1024, 0, "1,000 cgroups made in one go; more: a rescan"
    ),
    "names": MapSpec(
        libbpf.MAP_HASH,
        4,
        NAME_BYTES,
        262144,
        libbpf.F_NO_PREALLOC,
        "constraints and workloads that any count or cgroup refers to",
    ),
    "policy": MapSpec(
        libbpf.MAP_HASH,
        8,
        POLICY_CHUNK_BYTES,
        2 * 4096,
        libbpf.F_NO_PREALLOC,
        "16 MiB of policy text, two policies",
    ),
    "hook_history": MapSpec(
        libbpf.MAP_HASH, HOOK_NAME_BYTES, 24, 64, libbpf.F_NO_PREALLOC, "twice as many as hooks"
    ),
    "meta": MapSpec(libbpf.MAP_ARRAY, 4, sizeof(layout.Meta), 1, 0, "what is loaded here"),
    "grace": MapSpec(
        libbpf.MAP_ARRAY_OF_MAPS, 4, 4, 1, 0, "an update of it waits for every running program"
    ),
}


def create(name: str) -> int:
    """Make the map; its descriptor. OSError with the kernel's reason."""
    spec = MAPS[name]
    options = libbpf.MapCreateOptions(sz=sizeof(libbpf.MapCreateOptions), map_flags=spec.flags)
    inner = create("meta") if spec.type == libbpf.MAP_ARRAY_OF_MAPS else None
    if inner is not None:
        options.inner_map_fd = inner
    types = spec.types() if spec.types else None
    if types:
        options.btf_fd = types.fd
        options.btf_key_type_id = types.key
        options.btf_value_type_id = types.value
    try:
        return libbpf.check(
            libbpf.library().bpf_map_create(
                spec.type,
                f"pw_{name}"[:15].encode(),
                spec.key_size,
                spec.value_size,
                spec.max_entries,
                ctypes.byref(options),
            ),
            f"map {name}",
        )
    finally:
        if types:
            btf.close(types)
        if inner is not None:
            os.close(inner)


def matches(name: str, fd: int) -> bool:
    """Whether what is behind `fd` is this version's map of that name."""
    spec = MAPS[name]
    try:
        info = libbpf.object_info(fd, libbpf.MapInfo())
    except OSError:
        return False
    return (info.type, info.key_size, info.value_size, info.max_entries) == (
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
    )
