"""What this kernel can do for portwatch, found out by trying, and what it costs where it can't.

Each probe loads a program of a few instructions: the verifier's answer, not a version number,
decides (`bpftool feature probe` was seen to report helpers that the verifier refuses).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from enum import IntFlag

from portwatch.kernel import libbpf
from portwatch.kernel.btf import Field, KernelTypes
from portwatch.kernel.hooks import (
    ATTACH_INET4_BIND,
    ATTACH_INET4_POST_BIND,
    PROGRAM_CGROUP_SOCK,
    PROGRAM_CGROUP_SOCK_ADDR,
)

HELPER_SET_RETVAL = 187
HELPER_COARSE_CLOCK = 160
HELPER_CURRENT_TASK_BTF = 158

OLDEST_KERNEL = (5, 10)
POST_DENY_SINCE = (5, 17)


class Feature(IntFlag):
    """Each a guarantee; stored in `meta.features` by the loader."""

    SET_RETVAL = 1
    POST_DENY = 2
    COARSE_CLOCK = 4
    SOCKET_CGROUP = 8
    NETNS_INODE = 16
    IPV6ONLY = 32
    TASK_CGROUP = 64


LOST_WITHOUT: dict[Feature, str] = {
    Feature.SET_RETVAL: "a denied bind fails with EPERM, whatever errno the policy names",
    Feature.POST_DENY: "a port that the kernel picked is recorded, not refused",
    Feature.COARSE_CLOCK: "each bind pays for an exact clock",
    Feature.TASK_CGROUP: "each bind pays for a helper to tell the task's cgroup",
    Feature.SOCKET_CGROUP: "events do not name the maker of a socket that was passed on",
    Feature.NETNS_INODE: "events name a network namespace only while its process lives",
    Feature.IPV6ONLY: "`::` with IPV6_V6ONLY is judged as exposed on IPv4 too",
}


@dataclass(frozen=True)
class KernelFacts:
    """The features, and the compiler flags that tell the programs of them."""

    features: Feature
    compiler_flags: tuple[str, ...]


def probe() -> KernelFacts:
    """Try everything; needs CAP_BPF and CAP_NET_ADMIN, or root."""
    flags: list[str] = []
    features = Feature(0)
    if _helper_loads(HELPER_SET_RETVAL, PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND) and (
        _helper_loads(HELPER_SET_RETVAL, PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND)
    ):
        features |= Feature.SET_RETVAL
        flags.append("-DHAVE_SET_RETVAL")
    if kernel_version() >= POST_DENY_SINCE:
        # The one thing that no load can show: the kernel ignores the refusal's clean-up.
        features |= Feature.POST_DENY
        flags.append("-DHAVE_POST_DENY")
    if _helper_loads(HELPER_COARSE_CLOCK, PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND):
        features |= Feature.COARSE_CLOCK
        flags.append("-DHAVE_COARSE_CLOCK")
    for feature, fields in _fields().items():
        if None in fields.values():
            continue
        if feature == Feature.TASK_CGROUP and not _reads_from_task(fields):
            continue
        features |= feature
        flags.extend(_field_flags(fields))
    return KernelFacts(features, tuple(flags))


def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    major, minor = platform.release().split("-")[0].split(".")[:2]
    return int(major), int(minor)


def _fields() -> dict[Feature, dict[str, Field | None]]:
    types = KernelTypes()
    id_of_cgroup = {
        "CGROUP_KN": types.field("cgroup", "kn"),
        "KERNFS_ID": types.field("kernfs_node", "id"),
    }
    return {
        Feature.TASK_CGROUP: {
            "TASK_CGROUPS": types.field("task_struct", "cgroups"),
            "CSS_SET_CGROUP": types.field("css_set", "dfl_cgrp"),
            **id_of_cgroup,
        },
        Feature.SOCKET_CGROUP: {
            "SOCK_CGROUP": types.field("sock", "sk_cgrp_data.cgroup"),
            **id_of_cgroup,
        },
        Feature.NETNS_INODE: {
            "SOCK_NET": types.field("sock", "__sk_common.skc_net.net"),
            "NET_INUM": types.field("net", "ns.inum"),
        },
        Feature.IPV6ONLY: {
            "SOCK_IPV6ONLY": types.field("sock", "__sk_common.skc_ipv6only"),
        },
    }


def _field_flags(fields: dict[str, Field | None]) -> list[str]:
    flags = []
    for name, field in fields.items():
        assert field is not None
        flags.append(f"-DOFFSET_{name}={field.offset}")
        if field.mask:
            flags.append(f"-DMASK_{name}={field.mask}")
    return flags


def _reads_from_task(fields: dict[str, Field | None]) -> bool:
    """Whether a bind hook may follow these fields from the current task, one by one."""
    loads = [
        _instruction(0x79, register=0, source=0, offset=field.offset)  # r0 = *(u64 *)(r0 + offset)
        for field in fields.values()
        if field is not None
    ]
    call = _instruction(0x85, immediate=HELPER_CURRENT_TASK_BTF)
    return _loads([call, *loads], PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND) and _loads(
        [call, *loads], PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND
    )


def _helper_loads(helper: int, program_type: int, attach_type: int) -> bool:
    zero_argument = _instruction(0xB7, register=1)
    return _loads([zero_argument, _instruction(0x85, immediate=helper)], program_type, attach_type)


def _loads(body: list[bytes], program_type: int, attach_type: int) -> bool:
    """Whether the verifier takes these instructions, followed by `return 1`."""
    program = [*body, _instruction(0xB7, register=0, immediate=1), _instruction(0x95)]
    options = libbpf.ProgramLoadOptions(
        sz=ctypes.sizeof(libbpf.ProgramLoadOptions), expected_attach_type=attach_type
    )
    fd = libbpf.library().bpf_prog_load(
        program_type,
        b"pw_probe",
        b"GPL",
        b"".join(program),
        len(program),
        ctypes.byref(options),
    )
    if fd < 0:
        return False
    os.close(fd)
    return True


def _instruction(
    code: int, register: int = 0, immediate: int = 0, source: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | register, offset, immediate)
