"""Units and slices from a cgroup path, as systemd lays it out.

Follows cg_path_get_unit() and cg_path_get_user_unit() of systemd's src/basic/cgroup-util.c:
slices are skipped, then the first component has to be a unit; below user@N.service the same
again for that user's manager. What is nested below a unit belongs to the unit.
"""

from __future__ import annotations

import re
from functools import lru_cache

from portwatch.policy.globs import components

_UNIT_NAME_MAX = 255
_SUFFIXES = "service|socket|target|device|mount|automount|swap|timer|path|slice|scope"
_UNIT = re.compile(rf"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\@-]+)?\.(?:{_SUFFIXES})", re.ASCII)
_SLICE = re.compile(r"[A-Za-z0-9:_.\\-]+\.slice", re.ASCII)
_USER_MANAGER = re.compile(r"user@[0-9]+\.service", re.ASCII)


@lru_cache(2048)
def systemd_units(cgroup_path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the units (system unit, then user unit) and all slices that a cgroup lies in.

    `cgroup_path` is relative to the cgroup root and begins with "/".
    """
    parts = components(cgroup_path)
    slices: list[str] = []
    units: list[str] = []
    at = _skip_slices(parts, 0, slices)
    unit = _unit(parts, at)
    if unit is not None:
        units.append(unit)
        if _USER_MANAGER.fullmatch(unit):
            at = _skip_slices(parts, at + 1, slices)
            user_unit = _unit(parts, at)
            if user_unit is not None:
                units.append(user_unit)
    return tuple(units), tuple(slices)


def _skip_slices(parts: tuple[str, ...], at: int, slices: list[str]) -> int:
    """Append the slices from `at` on; return the index of what follows them."""
    while at < len(parts):
        name = _unescape(parts[at])
        if len(name) > _UNIT_NAME_MAX or not _SLICE.fullmatch(name):
            break
        slices.append(name)
        at += 1
    return at


def _unit(parts: tuple[str, ...], at: int) -> str | None:
    if at >= len(parts):
        return None
    name = _unescape(parts[at])
    valid = len(name) <= _UNIT_NAME_MAX and _UNIT.fullmatch(name)
    return name if valid and not name.endswith(".slice") else None


def _unescape(component: str) -> str:
    """Undo cg_escape(): a name that could be a kernel file has `_` put before it."""
    return component.removeprefix("_")
