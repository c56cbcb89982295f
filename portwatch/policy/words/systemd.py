"""Units and slices from a cgroup path, as systemd lays it out.

Follows cg_path_get_unit() and cg_path_get_user_unit() of systemd's src/basic/cgroup-util.c:
slices are skipped, then the first component has to be a unit; below user@N.service the same
again for that user's manager. What is nested below a unit belongs to the unit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNIT_NAME_MAX = 255
_SUFFIXES = "service|socket|target|device|mount|automount|swap|timer|path|slice|scope"
_UNIT = re.compile(rf"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\@-]+)?\.(?:{_SUFFIXES})", re.ASCII)
_SLICE = re.compile(r"[A-Za-z0-9:_.\\-]+\.slice", re.ASCII)
_USER_MANAGER = re.compile(r"user@([0-9]{1,10})\.service", re.ASCII)


def walk_units(parts: Sequence[str], at: int) -> tuple[tuple[str, ...], str | None, int]:
    """Return the slices from component `at` on, the unit after them, and the index of that.

    The unit is None where what follows the slices is none, or nothing.
    """
    slices: list[str] = []
    while at < len(parts):
        name = _unescape(parts[at])
        if len(name) > _UNIT_NAME_MAX or not _SLICE.fullmatch(name):
            break
        slices.append(name)
        at += 1
    return tuple(slices), _unit(parts[at]) if at < len(parts) else None, at


def user_of_manager(unit: str | None) -> int | None:
    """Return the uid whose manager a unit is, None where it is not a user's manager."""
    found = _USER_MANAGER.fullmatch(unit) if unit else None
    return int(found[1]) if found else None


def _unit(component: str) -> str | None:
    name = _unescape(component)
    valid = len(name) <= _UNIT_NAME_MAX and _UNIT.fullmatch(name)
    return name if valid and not name.endswith(".slice") else None


def _unescape(component: str) -> str:
    """Undo cg_escape(): a name that could be a kernel file has `_` put before it."""
    return component.removeprefix("_")
