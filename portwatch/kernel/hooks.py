"""The hooks by name: what each is for, what it attaches to, and which portwatch can do without."""

from __future__ import annotations

from dataclasses import dataclass

PROGRAM_CGROUP_SOCK = 9
PROGRAM_RAW_TRACEPOINT = 17
PROGRAM_CGROUP_SOCK_ADDR = 18

ATTACH_INET4_BIND = 8
ATTACH_INET6_BIND = 9
ATTACH_INET4_POST_BIND = 12
ATTACH_INET6_POST_BIND = 13


@dataclass(frozen=True)
class Hook:
    """One attach point. `attach_type` is bpf.h's; None for a raw tracepoint of that name."""

    name: str
    program_type: int
    attach_type: int | None
    required: bool
    purpose: str

    @property
    def is_cgroup(self) -> bool:
        """Whether it attaches to a cgroup rather than to the whole kernel."""
        return self.attach_type is not None


HOOKS: tuple[Hook, ...] = (
    Hook("bind4", PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET4_BIND, True, "the verdict on an IPv4 bind"),
    Hook("bind6", PROGRAM_CGROUP_SOCK_ADDR, ATTACH_INET6_BIND, True, "the verdict on an IPv6 bind"),
    Hook(
        "post_bind4",
        PROGRAM_CGROUP_SOCK,
        ATTACH_INET4_POST_BIND,
        True,
        "the IPv4 port that the kernel picked",
    ),
    Hook(
        "post_bind6",
        PROGRAM_CGROUP_SOCK,
        ATTACH_INET6_POST_BIND,
        True,
        "the IPv6 port that the kernel picked",
    ),
    Hook("cgroup_mkdir", PROGRAM_RAW_TRACEPOINT, None, False, "a new cgroup to classify"),
    Hook("cgroup_rmdir", PROGRAM_RAW_TRACEPOINT, None, False, "a cgroup to forget"),
)
