"""What this kernel can do for portwatch, found out by trying.

Each probe loads a program of a few instructions: the verifier's answer, not a version number,
decides (`bpftool feature probe` was seen to report helpers that the verifier refuses).
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable

from portwatch.kernel import layout, libbpf, maps
from portwatch.kernel.btf import KernelTypes
from portwatch.kernel.features import Feature, KernelFacts
from portwatch.kernel.hooks import (
    ATTACH_FEXIT,
    ATTACH_INET4_BIND,
    ATTACH_INET4_POST_BIND,
    ATTACH_LSM,
    ATTACH_SOCK_OPS,
    PROGRAM_CGROUP_SOCK,
    PROGRAM_CGROUP_SOCK_ADDR,
    PROGRAM_LSM,
    PROGRAM_SOCK_OPS,
    PROGRAM_TRACEPOINT,
    PROGRAM_TRACING,
)
from portwatch.kernel.kernel_fields import Fields, fields_of
from portwatch.kernel.mounts import active_lsms

HELPER_MAP_LOOKUP = 1
HELPER_CURRENT_TASK = 35
HELPER_SPIN_LOCK = 93
HELPER_SPIN_UNLOCK = 94
HELPER_PROBE_READ_USER = 112
HELPER_CURRENT_TASK_BTF = 158
HELPER_COARSE_CLOCK = 160
HELPER_TASK_PT_REGS = 175
HELPER_SET_RETVAL = 187

OLDEST_KERNEL = (5, 10)
POST_DENY_SINCE = (5, 17)

SO_NETNS_COOKIE = 71

Trial = Callable[[KernelTypes, Fields], bool]


def probe() -> KernelFacts:
    """Try everything; needs CAP_BPF and CAP_NET_ADMIN, or root."""
    types = KernelTypes()
    features = Feature(0)
    known: Fields = {}
    for feature in Feature:
        fields = fields_of(feature, types)
        trial = _TRIALS.get(feature, _always)
        if None not in fields.values() and trial(types, fields):
            features |= feature
            known |= fields
    flags = [f"-DHAVE_{feature.name}" for feature in Feature if feature in features]
    return KernelFacts(features, (*flags, *_field_flags(known)))


def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    major, minor = platform.release().split("-")[0].split(".")[:2]
    return int(major), int(minor)


def _always(_types: KernelTypes, _fields: Fields) -> bool:
    return True


def _tries_set_retval(_types: KernelTypes, _fields: Fields) -> bool:
    return _helper_loads(HELPER_SET_RETVAL, PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND) and (
        _helper_loads(HELPER_SET_RETVAL, PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND)
    )


def _tries_coarse_clock(_types: KernelTypes, _fields: Fields) -> bool:
    return _helper_loads(HELPER_COARSE_CLOCK, PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND)


def _tries_task_cgroup(_types: KernelTypes, fields: Fields) -> bool:
    """Whether a bind hook may follow these fields from the current task, one by one."""
    loads = [
        _instruction(0x79, register=0, source=0, offset=field.offset)  # r0 = *(u64 *)(r0 + offset)
        for field in fields.values()
        if field is not None
    ]
    body = [_instruction(0x85, immediate=HELPER_CURRENT_TASK_BTF), *loads]
    return _loads(body, PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND) and _loads(
        body, PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND
    )


def _tries_current_task(_types: KernelTypes, _fields: Fields) -> bool:
    """sock_ops, of the programs that read by the kernel's types, has the fewest helpers."""
    return _helper_loads(HELPER_CURRENT_TASK, PROGRAM_SOCK_OPS, ATTACH_SOCK_OPS)


def _tries_process_details(_types: KernelTypes, _fields: Fields) -> bool:
    """The bind hooks have to read the memory of who binds, and so does sock_ops."""
    task = _instruction(0x85, immediate=HELPER_CURRENT_TASK)
    to = [_instruction(0xBF, register=1, source=10), _instruction(0x07, register=1, immediate=-8)]
    nothing = [_instruction(0xB7, register=2), _instruction(0xB7, register=3)]
    body = [task, *to, *nothing, _instruction(0x85, immediate=HELPER_PROBE_READ_USER)]
    return all(
        _loads(body, program_type, attach_type)
        for program_type, attach_type in (
            (PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND),
            (PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND),
            (PROGRAM_SOCK_OPS, ATTACH_SOCK_OPS),
        )
    )


def _tries_lsm(types: KernelTypes, _fields: Fields) -> bool:
    """A program would load and attach, and never be called, where `bpf` is not among the LSMs;
    and it has to count violations, which are behind locks that 5.10 keeps from it."""
    target = types.function("bpf_lsm_socket_listen")
    if "bpf" not in active_lsms():
        return False
    try:
        violations = maps.create("violations")
    except OSError:
        return False
    try:
        return _loads(_locking(violations), PROGRAM_LSM, ATTACH_LSM, target, result=0)
    finally:
        os.close(violations)


def _locking(violations: int) -> list[bytes]:
    """Find an entry, and take and leave its lock."""
    key_bytes = ctypes.sizeof(layout.ViolationKey)
    zeros = [
        _instruction(0x72, register=10, offset=-at)  # *(u8 *)(r10 - at) = 0
        for at in range(1, key_bytes + 1)
    ]
    find = [
        _instruction(0x18, register=1, source=1, immediate=violations),
        _instruction(0),  # the address of a map takes two
        _instruction(0xBF, register=2, source=10),
        _instruction(0x07, register=2, immediate=-key_bytes),
        _instruction(0x85, immediate=HELPER_MAP_LOOKUP),
    ]
    lock = [
        _instruction(0x07, register=0, immediate=layout.Violation.lock.offset),
        _instruction(0xBF, register=6, source=0),
        _instruction(0xBF, register=1, source=6),
        _instruction(0x85, immediate=HELPER_SPIN_LOCK),
        _instruction(0xBF, register=1, source=6),
        _instruction(0x85, immediate=HELPER_SPIN_UNLOCK),
    ]
    return [*zeros, *find, _instruction(0x15, offset=len(lock)), *lock]  # skipped where r0 == 0


def _tries_function_exit(types: KernelTypes, _fields: Fields) -> bool:
    return _loads([], PROGRAM_TRACING, ATTACH_FEXIT, types.function("inet_csk_get_port"), result=0)


def _tries_task_pt_regs(_types: KernelTypes, _fields: Fields) -> bool:
    task = _instruction(0x85, immediate=HELPER_CURRENT_TASK_BTF)
    move = _instruction(0xBF, register=1, source=0)
    return _loads(
        [task, move, _instruction(0x85, immediate=HELPER_TASK_PT_REGS)], PROGRAM_TRACEPOINT
    )


def _tries_socket_storage(_types: KernelTypes, _fields: Fields) -> bool:
    """From 7.0 the kernel allocates it without locks, for which not every CPU will do: there each
    mark would fail (kmalloc_nolock() in mm/slub.c)."""
    try:
        marks = maps.create("marks")
    except OSError:
        return False
    with socket.socket() as probed:
        key = probed.fileno().to_bytes(4, sys.byteorder)
        result = libbpf.library().bpf_map_update_elem(marks, key, bytes(layout.Mark()), 0)
    os.close(marks)
    return bool(result == 0)


def _tries_netns_cookie(_types: KernelTypes, _fields: Fields) -> bool:
    """Whether the agent can learn which network namespace the hooks are to take for the host's."""
    with socket.socket() as probed:
        try:
            probed.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return False
    return True


_TRIALS: dict[Feature, Trial] = {
    Feature.SET_RETVAL: _tries_set_retval,
    # The one thing that no load can show: the kernel ignores the refusal's clean-up.
    Feature.POST_DENY: lambda _types, _fields: kernel_version() >= POST_DENY_SINCE,
    Feature.COARSE_CLOCK: _tries_coarse_clock,
    Feature.TASK_CGROUP: _tries_task_cgroup,
    Feature.KERNEL_TYPES: _tries_current_task,
    Feature.LSM: _tries_lsm,
    Feature.FUNCTION_EXIT: _tries_function_exit,
    Feature.TASK_PT_REGS: _tries_task_pt_regs,
    Feature.SOCKET_STORAGE: _tries_socket_storage,
    Feature.NETNS_COOKIE: _tries_netns_cookie,
    Feature.PROCESS_DETAILS: _tries_process_details,
}


def _field_flags(fields: Fields) -> list[str]:
    flags = []
    for name, field in fields.items():
        assert field is not None
        flags.append(f"-DOFFSET_{name}={field.offset}")
        if field.mask:
            flags.append(f"-DMASK_{name}={field.mask}")
    return flags


def _helper_loads(helper: int, program_type: int, attach_type: int) -> bool:
    zero_argument = _instruction(0xB7, register=1)
    return _loads([zero_argument, _instruction(0x85, immediate=helper)], program_type, attach_type)


def _loads(
    body: list[bytes],
    program_type: int,
    attach_type: int = 0,
    target: int | None = 0,
    result: int = 1,
) -> bool:
    """Whether the verifier takes these instructions, followed by `return result`; `target`: the
    BTF id of the function that it is for, None where the kernel has no such function."""
    if target is None:
        return False
    program = [*body, _instruction(0xB7, register=0, immediate=result), _instruction(0x95)]
    try:
        fd = libbpf.load_program("pw_probe", b"".join(program), program_type, attach_type, target)
    except OSError:
        return False
    os.close(fd)
    return True


def _instruction(
    code: int, register: int = 0, immediate: int = 0, source: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | register, offset, immediate)
