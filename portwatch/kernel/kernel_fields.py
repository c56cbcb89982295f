"""The fields of kernel structs that the programs read, by what they are read for.

Names are those of bpf/*.h without OFFSET_; a field that this kernel does not have is None.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from portwatch.kernel.btf import Field, KernelTypes
from portwatch.kernel.features import Feature

ARGUMENT_REGISTERS = {"x86_64": ("di", "si"), "aarch64": ("orig_x0", "regs")}
"""First and second argument of a system call at its end, in struct pt_regs. On arm64 the first
of `regs` is the result by then; the second lies a register further."""

REGISTER_BYTES = 8


Fields = dict[str, Field | None]


def fields_of(feature: Feature, types: KernelTypes) -> Fields:
    """The fields that a feature needs, all of which have to be there."""
    find = _FIELDS.get(feature)
    return find(types) if find else {}


def _id_of_cgroup(types: KernelTypes) -> Fields:
    return {
        "CGROUP_KN": types.field("cgroup", "kn"),
        "KERNFS_ID": types.field("kernfs_node", "id"),
    }


def _task_cgroup(types: KernelTypes) -> Fields:
    """In the order in which they are followed from a task."""
    return {
        "TASK_CGROUPS": types.field("task_struct", "cgroups"),
        "CSS_SET_CGROUP": types.field("css_set", "dfl_cgrp"),
        **_id_of_cgroup(types),
    }


def _socket_cgroup(types: KernelTypes) -> Fields:
    pointer = types.field("sock", "sk_cgrp_data.cgroup")
    before_5_16 = types.field("sock", "sk_cgrp_data.val")
    return {"SOCK_CGROUP": pointer or before_5_16, **_id_of_cgroup(types)}


def _netns_inode(types: KernelTypes) -> Fields:
    return {
        "SOCK_NET": types.field("sock", "__sk_common.skc_net.net"),
        "NET_INUM": types.field("net", "ns.inum"),
    }


def _ipv6only(types: KernelTypes) -> Fields:
    return {"SOCK_IPV6ONLY": types.field("sock", "__sk_common.skc_ipv6only")}


def _kernel_types(types: KernelTypes) -> Fields:
    parts = (_task_cgroup, _socket_cgroup, _netns_inode, _ipv6only, _task, _socket)
    found = {name: field for part in parts for name, field in part(types).items()}
    return {
        **found,
        "CGROUP_PARENT": types.field("cgroup", "self.parent"),
        "CGROUP_ROOT": types.field("cgroup", "root"),
        "HIERARCHY_ID": types.field("cgroup_root", "hierarchy_id"),
    }


def _system_call(types: KernelTypes) -> Fields:
    """From a task at the end of a system call to its arguments and the socket they name."""
    first, second = ARGUMENT_REGISTERS.get(platform.machine(), ("", ""))
    second_field = types.field("pt_regs", second)
    if second_field and second == "regs":
        second_field = Field(second_field.offset + REGISTER_BYTES)
    return {
        "REGS_FIRST": types.field("pt_regs", first),
        "REGS_SECOND": second_field,
        "TASK_FILES": types.field("task_struct", "files"),
        "FILES_FDT": types.field("files_struct", "fdt"),
        "FDTABLE_MAX": types.field("fdtable", "max_fds"),
        "FDTABLE_FD": types.field("fdtable", "fd"),
        "FILE_PRIVATE": types.field("file", "private_data"),
        "SOCKET_FILE": types.field("socket", "file"),
    }


def _task(types: KernelTypes) -> Fields:
    return {
        "TASK_TGID": types.field("task_struct", "tgid"),
        "TASK_PID": types.field("task_struct", "pid"),
        "TASK_COMM": types.field("task_struct", "comm"),
        "TASK_CRED": types.field("task_struct", "cred"),
        "CRED_UID": types.field("cred", "uid"),
        "CRED_GID": types.field("cred", "gid"),
    }


def _process_details(types: KernelTypes) -> Fields:
    """From a task to its process: when it started, what it is called where it lives, its arguments.

    A number in a pid namespace ends with the pointer to that namespace.
    """
    return {
        "TASK_LEADER": types.field("task_struct", "group_leader"),
        "TASK_STARTED": types.field("task_struct", "start_boottime"),
        "TASK_THREAD_PID": types.field("task_struct", "thread_pid"),
        "TASK_MM": types.field("task_struct", "mm"),
        "PID_LEVEL": types.field("pid", "level"),
        "PID_NUMBERS": types.field("pid", "numbers"),
        "UPID_NUMBER": types.field("upid", "nr"),
        "UPID_NAMESPACE": types.field("upid", "ns"),
        "MM_ARGUMENTS": types.field("mm_struct", "arg_start"),
        "MM_ARGUMENTS_END": types.field("mm_struct", "arg_end"),
    }


def _socket(types: KernelTypes) -> Fields:
    return {
        "SOCKET_SK": types.field("socket", "sk"),
        "SOCK_NUM": types.field("sock", "__sk_common.skc_num"),
        "SOCK_FAMILY": types.field("sock", "__sk_common.skc_family"),
        "SOCK_PROTOCOL": types.field("sock", "sk_protocol"),
        "SOCK_ADDRESS4": types.field("sock", "__sk_common.skc_rcv_saddr"),
        "SOCK_ADDRESS6": types.field("sock", "__sk_common.skc_v6_rcv_saddr"),
        "SOCK_USERLOCKS": types.field("sock", "sk_userlocks"),
        "SOCK_REUSE": types.field("sock", "__sk_common.skc_reuse"),
        "SOCK_REUSEPORT": types.field("sock", "__sk_common.skc_reuseport"),
    }


_FIELDS: dict[Feature, Callable[[KernelTypes], Fields]] = {
    Feature.TASK_CGROUP: _task_cgroup,
    Feature.SOCKET_CGROUP: _socket_cgroup,
    Feature.NETNS_INODE: _netns_inode,
    Feature.IPV6ONLY: _ipv6only,
    Feature.KERNEL_TYPES: _kernel_types,
    Feature.TASK_PT_REGS: _system_call,
    Feature.PROCESS_DETAILS: _process_details,
}
