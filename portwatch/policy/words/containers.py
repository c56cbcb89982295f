"""The container and the pod that a cgroup path lies in, as engines and the kubelet lay it out.

With systemd as the driver a container is a scope, `PREFIX-ID.scope`; with cgroupfs a directory,
`PREFIX-ID` or just the id; where kubelet and engine disagree about the driver, `SLICE:PREFIX:ID`.
Sources: libcontainer of runc (cgroups/systemd, cgroups/fs2), libpod and conmon, cri-o's
internal/config/cgmgr, the kubelet's cm/cgroup_manager_linux.go.

The outermost container is the one that counts: what is nested in it, its own root may name as it
likes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

RUNTIMES = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",  # --cgroups=split, which Quadlet uses
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "crio",
}
"""By the prefix of the cgroup. Not `libpod-conmon` and `crio-conmon`, which run outside."""

SHORT_ID = 12
"""Digits of an id that engines show to people, and take from them."""

_ID_DIGITS = 64
ID = re.compile("[0-9a-f]{64}", re.ASCII)
_ID_PREFIX = re.compile(f"[0-9a-f]{{{SHORT_ID},64}}", re.ASCII)
_PREFIXES = "|".join(RUNTIMES)
_NAMED = re.compile(rf"({_PREFIXES})-([0-9a-f]{{64}})(?:\.scope)?", re.ASCII)
_COLONS = re.compile(rf"[^:]+:({_PREFIXES}):([0-9a-f]{{64}})", re.ASCII)
_BARE_BELOW = {"docker": "docker"}  # a directory that holds ids without a prefix
_PODS_BELOW = "libpod_parent"  # and one in which those are Podman's pods
_POD_UID = "[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"  # static: a hash
_POD_SLICE = re.compile(
    rf"(?:[A-Za-z0-9_.]+-)*kubepods(?:-burstable|-besteffort)?-pod({_POD_UID})\.slice", re.ASCII
)
_POD_DIRECTORY = re.compile(rf"pod({_POD_UID})", re.ASCII)
_POD_UID_ALONE = re.compile(_POD_UID, re.ASCII)
_QUALITIES = ("kubepods", "burstable", "besteffort")
_PODS_SLICE = re.compile(
    r"(?:[A-Za-z0-9_.]+-)*kubepods(?:-burstable|-besteffort)?\.slice", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ContainerId:
    """A container by its full id; `runtime` None where the path does not tell."""

    id: str
    runtime: str | None


def outermost_container(parts: Sequence[str]) -> tuple[int, ContainerId] | None:
    """Return the first component that is a container's, and the container."""
    for index, part in enumerate(parts):
        if len(part) < _ID_DIGITS:
            continue
        found = _NAMED.fullmatch(part) or _COLONS.fullmatch(part)
        if found:
            return index, ContainerId(found[2], RUNTIMES[found[1]])
        above = parts[index - 1] if index else ""
        if ID.fullmatch(part) and above != _PODS_BELOW:
            return index, ContainerId(part, _BARE_BELOW.get(above))
    return None


def outermost_pod(parts: Sequence[str]) -> tuple[int, str] | None:
    """Return the first component that is a pod's, and the pod's uid."""
    for index, part in enumerate(parts):
        uid = _pod_uid(part, parts[index - 1] if index else "")
        if uid:
            return index, uid
    return None


def holds_pods(parts: Sequence[str]) -> bool:
    """Return whether a path is one in which the kubelet makes the cgroups of pods, and not one of
    those."""
    if not parts:
        return False
    last = parts[-1]
    by_directory = last == "kubepods" or (last in _QUALITIES and parts[-2:-1] == ("kubepods",))
    return by_directory or _PODS_SLICE.fullmatch(last) is not None


def is_id_prefix(text: str) -> bool:
    """Return whether a text means a container by its id: 12 hexadecimal digits or more of it."""
    return _ID_PREFIX.fullmatch(text) is not None


def is_pod_uid(text: str) -> bool:
    """Return whether a text has the form of a pod's uid."""
    return _POD_UID_ALONE.fullmatch(text) is not None and "_" not in text


def _pod_uid(part: str, above: str) -> str | None:
    slice_name = part.partition(":")[0]  # SLICE:PREFIX:ID, where the drivers disagree
    found = _POD_SLICE.fullmatch(slice_name)
    if not found and above in _QUALITIES:
        found = _POD_DIRECTORY.fullmatch(part)
    return found[1].replace("_", "-") if found else None
