"""What a kernel may or may not do for portwatch, and what it costs where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag


class Feature(IntFlag):
    """Each a guarantee; stored in `meta.features` by the loader."""

    SET_RETVAL = 1
    POST_DENY = 2
    COARSE_CLOCK = 4
    SOCKET_CGROUP = 8
    NETNS_INODE = 16
    IPV6ONLY = 32
    TASK_CGROUP = 64
    KERNEL_TYPES = 128
    LSM = 256
    FUNCTION_EXIT = 512
    TASK_PT_REGS = 1024
    SOCKET_STORAGE = 2048
    PROCESS_DETAILS = 4096
    NETNS_COOKIE = 8192


LOST_WITHOUT: dict[Feature, str] = {
    Feature.SET_RETVAL: "a denied bind fails with EPERM, whatever errno the policy names",
    Feature.POST_DENY: "what shows only when a port is taken is recorded, not refused: one that "
    "the kernel picked, that another BPF program changed, `::` that was v6-only a moment ago",
    Feature.COARSE_CLOCK: "each bind pays for an exact clock",
    Feature.TASK_CGROUP: "each bind pays for a helper to tell the task's cgroup",
    Feature.SOCKET_CGROUP: "events do not name the maker of a socket that was passed on",
    Feature.NETNS_INODE: "events name a network namespace only while its process lives",
    Feature.IPV6ONLY: "`::` with IPV6_V6ONLY is judged as exposed on IPv4 too",
    Feature.KERNEL_TYPES: "listeners on picked ports and failed binds are not seen",
    Feature.LSM: "SCTP is not seen, and listen() without bind() is recorded, not refused",
    Feature.FUNCTION_EXIT: "failed binds are seen by a tracepoint that each system call pays for",
    Feature.SOCKET_STORAGE: "ports that the kernel picks are judged by `ephemeral` alone",
    Feature.PROCESS_DETAILS: "events tell less of a process that has ended: no command line",
    Feature.NETNS_COOKIE: "`network: host` means the kernel's first network namespace",
    Feature.TASK_PT_REGS: "failed binds are not seen where functions take no programs",
}


MENDED_BY: dict[Feature, str] = {
    Feature.KERNEL_TYPES: "a kernel with CONFIG_DEBUG_INFO_BTF",
    Feature.PROCESS_DETAILS: "a kernel with CONFIG_DEBUG_INFO_BTF",
    Feature.LSM: "a kernel from 5.11 on with CONFIG_BPF_LSM and "
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, booted with `bpf` in lsm=",
    Feature.FUNCTION_EXIT: "a kernel with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
}
"""What helps where it is not simply a later kernel."""


@dataclass(frozen=True)
class KernelFacts:
    """The features, and the compiler flags that tell the programs of them."""

    features: Feature
    compiler_flags: tuple[str, ...]
