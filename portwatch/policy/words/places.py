"""Who a cgroup's path says that its tasks are, and how far that is to be believed.

Only root and the system's systemd make cgroups outside of units. Below a unit whoever runs there
may have a subtree of its own: a user's manager, an engine, a container with its cgroups. What is
named there is *claimed*: it may be called like anything else on the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from portwatch.policy.words.containers import (
    ContainerId,
    holds_pods,
    outermost_container,
    outermost_pod,
)
from portwatch.policy.words.globs import components
from portwatch.policy.words.systemd import user_of_manager, walk_units

_USER_SLICE = re.compile(r"user-([0-9]{1,10})\.slice", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """What a cgroup path tells. `unit` and `slices` are the system manager's.

    `user_unit` and `user_slices` are claimed by a user's manager. `container` (its own cgroup is
    `container_cgroup`) and `pod` are, where `is_claimed`: they lie below a unit. `holds_pods`: pods
    begin here. `owner_uid`: the user in whose slice or manager it all is, 0 for the machine's own.
    """

    unit: str | None = None
    slices: tuple[str, ...] = ()
    user_unit: str | None = None
    user_slices: tuple[str, ...] = ()
    container: ContainerId | None = None
    container_cgroup: str | None = None
    pod: str | None = None
    holds_pods: bool = False
    is_claimed: bool = False
    owner_uid: int = 0


@lru_cache(4096)
def place_of(cgroup_path: str) -> Place:
    """Read a path that is relative to the cgroup root and begins with `/`."""
    parts = components(cgroup_path)
    slices, unit, unit_index = walk_units(parts, 0)
    user_slices: tuple[str, ...] = ()
    user_unit = None
    manager_uid = user_of_manager(unit)
    if manager_uid is not None:
        user_slices, user_unit, _ = walk_units(parts, unit_index + 1)
    container = outermost_container(parts)
    container_index = container[0] if container else len(parts)
    pod = outermost_pod(parts[: container_index + 1])
    first = pod[0] if pod else container_index
    return Place(
        unit,
        slices,
        user_unit,
        user_slices,
        container[1] if container else None,
        "/" + "/".join(parts[: container_index + 1]) if container else None,
        pod[1] if pod else None,
        holds_pods=pod is None and container is None and holds_pods(parts),
        is_claimed=unit is not None and first > unit_index,
        owner_uid=_owner(slices) if manager_uid is None else manager_uid,
    )


def _owner(slices: tuple[str, ...]) -> int:
    found = (_USER_SLICE.fullmatch(name) for name in slices)
    return next((int(match[1]) for match in found if match), 0)
