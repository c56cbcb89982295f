"""Who binds, and which workloads a selector means.

Imports nothing of portwatch but its neighbours `globs` and `systemd`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from portwatch.policy.globs import match_name, match_path
from portwatch.policy.systemd import systemd_units

__all__ = [
    "MAX_ID",
    "SELECTOR_KEYS",
    "UNRESOLVED_KEYS",
    "Selector",
    "Subject",
    "Workload",
    "systemd_units",
]

SELECTOR_KEYS = ("unit", "slice", "container", "image", "pod", "cgroup", "user", "group")
UNRESOLVED_KEYS = ("container", "image", "pod")
"""Parsed, and refused: nothing resolves them to cgroups yet."""

MAX_ID = 0xFFFFFFFE
"""The largest uid or gid; the one above means "none"."""


@dataclass(frozen=True)
class Subject:
    """The task that binds: its cgroup, its real ids and their names, its network.

    An id with several account names has the others in the aliases.
    """

    cgroup: str = "/"
    uid: int = 0
    gid: int = 0
    user: str | None = None
    group: str | None = None
    host_network: bool = True
    user_aliases: tuple[str, ...] = ()
    group_aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selector:
    """All keys that hold patterns have to match, each by any of its patterns.

    `origin` is the defined workload that the selector was written in.
    """

    unit: tuple[str, ...] = ()
    slice: tuple[str, ...] = ()
    cgroup: tuple[str, ...] = ()
    user: tuple[str | int, ...] = ()
    group: tuple[str | int, ...] = ()
    origin: str | None = field(default=None, compare=False)

    def mismatch(self, subject: Subject) -> str | None:
        """Return the first key that does not match, None where the selector matches."""
        if self.unit or self.slice:
            units, slices = systemd_units(subject.cgroup)
            if self.unit and not _any_name(self.unit, units):
                return "unit"
            if self.slice and not _any_name(self.slice, slices):
                return "slice"
        if self.cgroup and not any(match_path(glob, subject.cgroup) for glob in self.cgroup):
            return "cgroup"
        names = (subject.user, *subject.user_aliases)
        if self.user and not _any_account(self.user, subject.uid, names):
            return "user"
        names = (subject.group, *subject.group_aliases)
        if self.group and not _any_account(self.group, subject.gid, names):
            return "group"
        return None

    def matches(self, subject: Subject) -> bool:
        """Return whether `subject` is meant."""
        return self.mismatch(subject) is None

    def __str__(self) -> str:
        parts = []
        for key in ("unit", "slice", "cgroup", "user", "group"):
            patterns = getattr(self, key)
            if patterns:
                parts.append(f"{key} {' or '.join(map(str, patterns))}")
        text = " and ".join(parts)
        return f"{self.origin} ({text})" if self.origin else text


@dataclass(frozen=True)
class Workload:
    """A defined workload: any of its selectors."""

    name: str
    selectors: tuple[Selector, ...]


def _any_name(globs: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return any(match_name(glob, name) for glob in globs for name in names)


def _any_account(
    patterns: tuple[str | int, ...], number: int, names: tuple[str | None, ...]
) -> bool:
    """Return whether an id or one of its names is meant; an id without a name matches no glob."""
    for pattern in patterns:
        if isinstance(pattern, int):
            if pattern == number:
                return True
        elif any(name is not None and match_name(pattern, name) for name in names):
            return True
    return False
