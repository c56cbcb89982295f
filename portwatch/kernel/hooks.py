"""The hooks by name: what each is for, what it attaches to, and which portwatch can do without."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from portwatch.kernel.features import Feature

PROGRAM_TRACEPOINT = 5
PROGRAM_CGROUP_SOCK = 9
PROGRAM_SOCK_OPS = 13
PROGRAM_RAW_TRACEPOINT = 17
PROGRAM_CGROUP_SOCK_ADDR = 18
PROGRAM_TRACING = 26
PROGRAM_LSM = 29

ATTACH_SOCK_OPS = 3
ATTACH_INET4_BIND = 8
ATTACH_INET6_BIND = 9
ATTACH_INET4_POST_BIND = 12
ATTACH_INET6_POST_BIND = 13
ATTACH_FEXIT = 25
ATTACH_LSM = 27
ATTACH_PERF_EVENT = 41


NOTHING = Feature(0)
BIND_HOOKS = "portwatch.c"
BEYOND_BIND = "beyond_bind.c"


class Place(Enum):
    """What a program is attached to."""

    CGROUP = "cgroup"
    RAW_TRACEPOINT = "raw tracepoint"
    TRACEPOINT = "tracepoint"
    FUNCTION = "kernel function"


@dataclass(frozen=True)
class Hook:
    """One attach point. `attach_type` is bpf.h's, 0 where there is none; `target` the kernel's
    name of the function or tracepoint; without what it `needs` there is no such program.
    `function` is its C function where that is not called like the hook."""

    name: str
    place: Place
    program_type: int
    attach_type: int
    purpose: str
    required: bool = False
    target: str = ""
    needs: Feature = NOTHING
    function: str = ""

    @property
    def file(self) -> str:
        """Where its C function is: what needs nothing is on the bind hooks."""
        return BEYOND_BIND if self.needs else BIND_HOOKS

    @property
    def c_function(self) -> str:
        """Its C function."""
        return self.function or self.name

    @property
    def is_cgroup(self) -> bool:
        """Whether it attaches to a cgroup rather than to the whole kernel."""
        return self.place is Place.CGROUP


POST_BIND = "the port that it came to be, IPv{}"
COLLISION = "a bind to a port that is taken"


def _bind(name: str, program_type: int, attach_type: int, purpose: str) -> Hook:
    return Hook(name, Place.CGROUP, program_type, attach_type, purpose, required=True)


def _raw(name: str, purpose: str) -> Hook:
    return Hook(name, Place.RAW_TRACEPOINT, PROGRAM_RAW_TRACEPOINT, 0, purpose, target=name)


def _lsm(name: str, purpose: str) -> Hook:
    needs = Feature.KERNEL_TYPES | Feature.LSM
    target = f"bpf_lsm_{name}"
    return Hook(name, Place.FUNCTION, PROGRAM_LSM, ATTACH_LSM, purpose, target=target, needs=needs)


def _fexit(name: str, target: str) -> Hook:
    return Hook(
        name,
        Place.FUNCTION,
        PROGRAM_TRACING,
        ATTACH_FEXIT,
        COLLISION,
        target=target,
        needs=Feature.KERNEL_TYPES | Feature.FUNCTION_EXIT,
        function="get_port",
    )


# Each system call pays for it, whatever it is: only where functions take no programs.
SYS_EXIT_BIND = Hook(
    "sys_exit_bind",
    Place.TRACEPOINT,
    PROGRAM_TRACEPOINT,
    ATTACH_PERF_EVENT,
    COLLISION,
    target="syscalls/sys_exit_bind",
    needs=Feature.KERNEL_TYPES | Feature.TASK_PT_REGS,
)

HOOKS: tuple[Hook, ...] = (
    _bind("bind4", PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND, "the verdict on an IPv4 bind"),
    _bind("bind6", PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET6_BIND, "the verdict on an IPv6 bind"),
    _bind("post_bind4", PROGRAM_CGROUP_SOCK, ATTACH_INET4_POST_BIND, POST_BIND.format(4)),
    _bind("post_bind6", PROGRAM_CGROUP_SOCK, ATTACH_INET6_POST_BIND, POST_BIND.format(6)),
    Hook(
        "listen",
        Place.CGROUP,
        PROGRAM_SOCK_OPS,
        ATTACH_SOCK_OPS,
        "a listener whose port the kernel picked",
        needs=Feature.KERNEL_TYPES,
    ),
    _lsm("socket_bind", "the verdict on an SCTP bind"),
    _lsm("sctp_bind_connect", "the verdict on sctp_bindx()"),
    _lsm("socket_listen", "refuses listen() without bind()"),
    _fexit("tcp_get_port", "inet_csk_get_port"),
    _fexit("udp4_get_port", "udp_v4_get_port"),
    _fexit("udp6_get_port", "udp_v6_get_port"),
    SYS_EXIT_BIND,
    _raw("cgroup_mkdir", "a new cgroup to classify"),
    _raw("cgroup_rmdir", "a cgroup to forget"),
)


COLLISION_HOOKS = {hook.name for hook in HOOKS if hook.purpose == COLLISION}


def wanted_hooks(features: Feature, collisions: bool = True) -> list[Hook]:
    """The hooks to load on a kernel with these features, with those for `collisions` or without."""
    left_out = {SYS_EXIT_BIND.name} if Feature.FUNCTION_EXIT in features else set()
    left_out |= set() if collisions else COLLISION_HOOKS
    return [hook for hook in HOOKS if hook.needs in features and hook.name not in left_out]
