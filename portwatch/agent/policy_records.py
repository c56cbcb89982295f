"""A compiled policy as the records of bpf/layout.h."""

from __future__ import annotations

import ctypes
import errno
from array import array
from collections.abc import Iterator

from portwatch.kernel import layout
from portwatch.node.netns import HostNetwork
from portwatch.policy.tables.compile import CompiledPolicy

ADDRESS_KEY_BITS = 32  # the generation stands before the address

Pair = tuple[bytes, bytes]


def write_tables(
    tables: layout.Tables,
    compiled: CompiledPolicy,
    numbers: dict[str, int],
    host: HostNetwork,
) -> None:
    """Fill all of a slot but its generation, its subjects and their rows."""
    uses = {
        layout.USES_ADDRESSES: compiled.uses_addresses,
        layout.USES_USERS: compiled.uses_users,
        layout.USES_GROUPS: compiled.uses_groups,
        layout.USES_NETWORK: compiled.uses_network,
    }
    tables.flags = sum(flag for flag, used in uses.items() if used)
    tables.host_netns_cookie = host.cookie
    tables.host_netns_inode = host.inode
    tables.ephemeral_gate = compiled.ephemeral_gate
    tables.address_classes = compiled.address_class_count
    tables.endpoints = compiled.endpoint_class_count
    tables.user_classes = compiled.user_class_count
    tables.group_classes = compiled.group_class_count
    tables.default_address = compiled.default_address_class
    tables.dual_address = compiled.dual_address_class
    for record, outcome in zip(tables.outcomes, compiled.outcomes, strict=False):
        record.constraint = numbers[outcome.constraint] if outcome.constraint else 0
        record.verdict = outcome.verdict
        record.error = getattr(errno, outcome.errno) if outcome.errno else 0
    _copy(tables.ports, compiled.port_classes)
    _copy(tables.cross, compiled.endpoint_classes)
    _copy(tables.uniform, compiled.uniform)


def address_pairs(generation: int, compiled: CompiledPolicy) -> Iterator[Pair]:
    """Entries of the `addresses` trie."""
    for bits, address, number in compiled.address_classes:
        key = layout.AddressKey(
            prefix_bits=ADDRESS_KEY_BITS + bits,
            generation=generation,
            address=(ctypes.c_uint8 * 16)(*address),
        )
        yield bytes(key), number.to_bytes(4, "little")


def account_pairs(generation: int, compiled: CompiledPolicy) -> Iterator[Pair]:
    """Entries of the `accounts` hash."""
    for is_group, classes in enumerate((compiled.user_classes, compiled.group_classes)):
        for number, class_number in classes.items():
            key = layout.AccountKey(generation=generation, id=number, is_group=is_group)
            yield bytes(key), class_number.to_bytes(4, "little")


def cgroup_pair(generation: int, cgroup: int, class_number: int, workload: int) -> Pair:
    """An entry of the `cgroups` hash."""
    key = layout.CgroupKey(id=cgroup, generation=generation)
    return bytes(key), bytes(layout.CgroupClass(class_=class_number, workload=workload))


def _copy(target: ctypes.Array[ctypes.c_uint16], source: array[int]) -> None:
    size = len(source) * source.itemsize
    assert size <= ctypes.sizeof(target)
    ctypes.memmove(target, (ctypes.c_char * size).from_buffer(source), size)
