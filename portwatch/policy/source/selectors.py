"""Selector mappings → Selectors, and what is wrong with their globs and account names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portwatch.policy.source.pods import read_pods, values_of
from portwatch.policy.source.problems import quote
from portwatch.policy.words.globs import components
from portwatch.policy.workload import MAX_ID, Selector

if TYPE_CHECKING:
    from portwatch.policy.source.merge import Merged, Spot

_ACCOUNT_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_SUFFIXES = {"unit": "service", "slice": "slice"}


def read_selector(spot: Spot, merged: Merged) -> Selector | None:
    """Read one mapping; None, with the problem recorded, where it cannot select anything."""
    if not spot.value and (spot.document.name, spot.path) not in merged.damaged:
        merged.report(spot, "the selector is empty; leave out `for` to mean every workload")
        return None
    checks: dict[str, Callable[[str], str | None]] = {
        "unit": lambda name: _bad_systemd_name("unit", name),
        "slice": lambda name: _bad_systemd_name("slice", name),
        "container": _bad_container,
        "image": _bad_image,
        "cgroup": _bad_path,
    }
    fields: dict[str, Any] = read_pods(spot, merged)
    for key, bad in checks.items():
        values = values_of(spot, key)
        fields[key] = tuple(str(value.value) for value in values)
        for value in values:
            message = bad(value.value)
            if message:
                merged.report(value, message)
    for key in ("user", "group"):
        fields[key] = _accounts(values_of(spot, key), merged)
    return Selector(**fields)


def _bad_systemd_name(key: str, name: str) -> str | None:
    """Return what is wrong with a glob, None where it is fine."""
    if "/" in name:
        return f"a {key} name has no `/`; paths are `cgroup`"
    if "." not in name and "*" not in name:
        right = f"{quote(name)[1:-1]}.{_SUFFIXES[key]}"
        return f"{quote(name)} has no suffix; did you mean `{right}`?"
    return None


def _bad_container(name: str) -> str | None:
    if "/" in name:
        return "a container name has no `/`; paths are `cgroup`"
    return None


def _bad_image(name: str) -> str | None:
    if name.startswith("/") or re.search(r"\s", name):
        return f"{quote(name)} is no image: write it as `docker pull` takes it"
    return None


def _bad_path(pattern: str) -> str | None:
    if not pattern.startswith("/"):
        return f"a cgroup path begins at the root: did you mean `/{quote(pattern)[1:-1]}`?"
    if any("**" in part and part != "**" for part in components(pattern)):
        return "`**` stands alone between slashes, as in `/ci/**` or `/**/build-*`"
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
