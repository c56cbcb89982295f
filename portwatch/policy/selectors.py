"""Selector mappings → Selectors, and what is wrong with their globs and account names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from portwatch.policy.globs import components
from portwatch.policy.problems import quote
from portwatch.policy.workload import MAX_ID, UNRESOLVED_KEYS, Selector

if TYPE_CHECKING:
    from portwatch.policy.merge import Merged, Spot

_ACCOUNT_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_UNRESOLVED = {
    "container": "containers are told apart by their cgroup: use `cgroup` or `unit`",
    "image": "images are not looked up: use `cgroup` or `unit`",
    "pod": "pods are told apart by their cgroup: use `cgroup` or `slice`",
}


def read_selector(spot: Spot, merged: Merged) -> Selector | None:
    """Read one mapping; None, with the problem recorded, where it cannot select anything."""
    for key in UNRESOLVED_KEYS:
        if key in spot.value:
            merged.report(spot.at(key), f"{quote(key)} cannot be resolved yet: {_UNRESOLVED[key]}")
    if not spot.value and (spot.document.name, spot.path) not in merged.damaged:
        merged.report(spot, "the selector is empty; leave out `for` to mean every workload")
        return None
    fields: dict[str, tuple[str, ...]] = {}
    for key in ("unit", "slice", "cgroup"):
        values = _values(spot, key)
        fields[key] = tuple(str(value.value) for value in values)
        for value in values:
            message = _bad_pattern(key, value.value)
            if message:
                merged.report(value, message)
    user, group = (_accounts(_values(spot, key), merged) for key in ("user", "group"))
    return Selector(fields["unit"], fields["slice"], fields["cgroup"], user, group)


def _values(spot: Spot, key: str) -> list[Spot]:
    value = spot.get(key)
    if value is None:
        return []
    return value.items() if isinstance(value.value, list) else [value]


def _bad_pattern(key: str, pattern: str) -> str | None:
    """Return what is wrong with a glob, None where it is fine."""
    if key == "cgroup":
        if not pattern.startswith("/"):
            return f"a cgroup path begins at the root: did you mean `/{quote(pattern)[1:-1]}`?"
        if any("**" in part and part != "**" for part in components(pattern)):
            return "`**` stands alone between slashes, as in `/ci/**` or `/**/build-*`"
        return None
    if "/" in pattern:
        return f"a {key} name has no `/`; paths are `cgroup`"
    if "." not in pattern and "*" not in pattern:
        suffix = "service" if key == "unit" else "slice"
        return f"{quote(pattern)} has no suffix; did you mean `{quote(pattern)[1:-1]}.{suffix}`?"
    return None


def _accounts(values: list[Spot], merged: Merged) -> tuple[str | int, ...]:
    accounts: list[str | int] = []
    for spot in values:
        value = spot.value
        if isinstance(value, str) and _ACCOUNT_NUMBER.fullmatch(value):
            if len(value) > 10 or int(value) > MAX_ID:
                merged.report(spot, f"id {quote(value)} is not between 0 and {MAX_ID}")
                continue
            value = int(value)
        accounts.append(value)
    return tuple(accounts)
