"""Several files as one policy: what may stand once, what concatenates, what is defined twice.

Shape errors are taken out of the data here, so that the rest can still be searched for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from portwatch.policy.source.document import Document, Path, Room, read_document
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.shape import report_shape

KINDS = ("ports", "addresses", "workloads")
_ONCE = ("version", "mode", "default", "errno", "reason", "pods")

BAD = object()
"""Stands in a list where an item of the wrong shape was."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of some document: the data, the document, and the path that leads there."""

    value: Any
    document: Document
    path: Path

    def at(self, step: str | int) -> Spot:
        """Return the value at one key or index further in."""
        return Spot(self.value[step], self.document, (*self.path, step))

    def get(self, key: str) -> Spot | None:
        """Return the value at `key`, None where there is none."""
        return self.at(key) if key in self.value else None

    def items(self) -> list[Spot]:
        """Return the items of a list, less those of the wrong shape."""
        return [self.at(number) for number, item in enumerate(self.value) if item is not BAD]

    def where(self, *, key: bool = False) -> str:
        """Return `file:line:column`."""
        line, column = self.document.place(self.path, key=key)
        return f"{self.document.name}:{line}:{column}"


@dataclass(slots=True)
class Merged:
    """What all files say together, still as plain data; `spots` is where the settings stand.

    `damaged` holds the paths of mappings that lost a key to a shape error; `broken` the
    names whose definition did not survive.
    """

    problems: Problems
    settings: dict[str, Any] = field(default_factory=dict)
    spots: dict[str, Spot] = field(default_factory=dict)
    definitions: dict[str, dict[str, Spot]] = field(default_factory=lambda: {k: {} for k in KINDS})
    broken: dict[str, set[str]] = field(default_factory=lambda: {k: set() for k in KINDS})
    constraints: list[Spot] = field(default_factory=list)
    damaged: set[tuple[str, Path]] = field(default_factory=set)
    unreadable: bool = False

    def report(self, spot: Spot, message: str, *, key: bool = False) -> None:
        """Record a problem with the value (or the key) at `spot`."""
        document = spot.document
        self.problems.add(document.name, document.place(spot.path, key=key), message)


def merge(sources: Sequence[tuple[str, str | bytes]], problems: Problems) -> Merged:
    """Read and merge the files, given as (name, text) in order."""
    merged = Merged(problems)
    seen: dict[str, Spot] = {}
    room = Room()
    for name, text in sources:
        document = read_document(name, text, problems, room)
        if document is None:
            merged.unreadable = True
        elif document.data is not None:
            _add(merged, document, seen)
    if not seen and not merged.unreadable and not len(problems):
        name = sources[0][0] if sources else "policy"
        problems.add(name, (1, 1), "the policy is empty: it needs at least `version: 1`")
    return merged


def _add(merged: Merged, document: Document, seen: dict[str, Spot]) -> None:
    raw_names = _names(document.data)
    bad = report_shape(document, merged.problems)
    for path in bad:
        _cut(merged, document, path)
    if () in bad:
        return
    root = Spot(document.data, document, ())
    for key in root.value:
        spot = root.at(key)
        if key in _ONCE:
            if key in seen:
                first = seen[key].where(key=True)
                merged.report(spot, f"{quote(key)} is already set at {first}", key=True)
            else:
                merged.settings[key] = spot.value
                merged.spots[key] = spot
        seen.setdefault(key, spot)
    if define := root.get("define"):
        for kind in KINDS:
            _add_definitions(merged, define.get(kind), kind)
    if constraints := root.get("constraints"):
        merged.constraints.extend(constraints.items())
    for kind in KINDS:
        merged.broken[kind] |= raw_names[kind] - merged.definitions[kind].keys()


def _add_definitions(merged: Merged, group: Spot | None, kind: str) -> None:
    known = merged.definitions[kind]
    for name in group.value if group else ():
        assert group is not None  # for mypy: the loop is empty otherwise
        spot = group.at(name)
        if name in known:
            first = known[name].where(key=True)
            merged.report(spot, f"{quote(name)} is already defined at {first}", key=True)
        else:
            known[name] = spot


def _names(data: Any) -> dict[str, set[str]]:
    """Return the names that a document defines, well-formed or not."""
    define = data.get("define") if isinstance(data, dict) else None
    groups = define if isinstance(define, dict) else {}
    return {
        kind: set(groups[kind]) if isinstance(groups.get(kind), dict) else set() for kind in KINDS
    }


def _cut(merged: Merged, document: Document, path: Path) -> None:
    """Take the value at `path` out of the document, and remember that something is gone."""
    node: Any = document.data
    for step in path[:-1]:
        inside = isinstance(node, dict) and step in node
        if not inside and not (isinstance(node, list) and isinstance(step, int)):
            return
        node = node[step]
        if node is BAD:
            return
    if not path:
        return
    if isinstance(node, dict):
        node.pop(path[-1], None)
    elif isinstance(node, list) and isinstance(path[-1], int):
        node[path[-1]] = BAD
    for length in range(len(path)):
        merged.damaged.add((document.name, path[:length]))
