"""YAML text → plain data, and the line and column of everything in it.

Reads libyaml's events rather than PyYAML's object tree: nesting is bounded before anything
recurses, and plain scalars are resolved here, so that `22:80`, `no` and `2001-01-01` stay
the text they are. Imports nothing of portwatch but `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from portwatch.policy.source.problems import Problems, quote

MAX_BYTES = 4 << 20
MAX_DEPTH = 32
MAX_NODES = 131_072

Path = tuple[str | int, ...]
"""Where in a document: mapping keys and list indexes from the root."""

Place = tuple[int, int]
"""Line and column, both from 1."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAGS = (None, "!", "tag:yaml.org,2002:str")
_CONTAINER_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# libyaml compares each %TAG with all before it: 150,000 of them would take a minute.
_TAG_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])\ufeff?(%TAG)")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class _Stop(Exception):
    """Reading on makes no sense; the problem is recorded."""


@dataclass(slots=True)
class _Node:
    """A container's place, its data, and the places of what is in it."""

    place: Place
    data: dict[str, Any] | list[Any]
    marks: dict[Any, Any]
    keys: dict[str, Place]
    key: str | None = None


@dataclass(slots=True)
class Room:
    """What the files of one policy, taken together, may still come to."""

    bytes: int = MAX_BYTES
    nodes: int = MAX_NODES


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its `name`, its plain data (None where it holds nothing) and its places.

    `nulls`: whether there is a None anywhere.
    """

    name: str
    data: Any
    nulls: bool
    _root: Any

    def place(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """Return where the value at `path` starts, with `key` where its key does.

        What is not there stands where the innermost thing around it starts.
        """
        node = self._root
        for number, step in enumerate(path):
            if not isinstance(node, _Node) or step not in node.marks:
                break
            if key and number == len(path) - 1 and step in node.keys:
                return node.keys[str(step)]
            node = node.marks[step]
        place: Place = node.place if isinstance(node, _Node) else node
        return place


def read_document(
    name: str, text: str | bytes, problems: Problems, room: Room | None = None
) -> Document | None:
    """Parse one YAML document; None, with the problem recorded, where it is unreadable.

    What it comes to is taken from `room`.
    """
    plain = ""
    room = room or Room()
    try:
        plain = _decode(name, text, problems, room)
        return _Reader(name, problems, room).read(plain)
    except _Stop:
        return None
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (err.context, err.problem) if part)
        if _at(plain, place) == "\t":
            what = "a tab cannot indent; use spaces"
        problems.add(name, place, f"not YAML: {what}")
    except yaml.YAMLError as err:
        problems.add(name, (1, 1), f"not YAML: {str(err).splitlines()[0]}")
    return None


def _decode(name: str, text: str | bytes, problems: Problems, room: Room) -> str:
    """Return the text, checked for size, encoding and what no policy has in it."""
    room.bytes -= len(text)
    if room.bytes < 0:
        what = "the file is" if len(text) > MAX_BYTES else "the files up to here are"
        problems.add(name, (1, 1), f"{what} larger than {MAX_BYTES >> 20} MiB")
        raise _Stop
    if isinstance(text, bytes):
        raw = text
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as err:
            before = raw[: err.start].decode("utf-8", "replace")
            problems.add(name, _end_of(before), f"not UTF-8: byte 0x{raw[err.start]:02x}")
            raise _Stop from err
    text = text.removeprefix("\ufeff")
    if bad := _NOT_YAML.search(text):
        message = f"not YAML: character U+{ord(bad.group()):04X} is not allowed"
        problems.add(name, _end_of(text[: bad.start()]), message)
        raise _Stop
    if tag := _TAG_DIRECTIVE.search(text):
        message = "`%TAG` is not allowed: a policy has no tags"
        problems.add(name, _end_of(text[: tag.start(1)]), message)
        raise _Stop
    if not text.strip():
        problems.add(name, (1, 1), "the file is empty")
        raise _Stop
    return text


def _at(text: str, place: Place) -> str:
    """Return the character at a place, empty where there is none."""
    lines = text.splitlines()
    line, column = place
    return lines[line - 1][column - 1 : column] if line <= len(lines) else ""


def _end_of(text: str) -> Place:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


class _Reader:
    """Builds one document from libyaml's events, with a stack of open containers."""

    def __init__(self, name: str, problems: Problems, room: Room) -> None:
        self._name = name
        self._problems = problems
        self._room = room
        self._stack: list[_Node] = []
        self._root: Any = None
        self._data: Any = None
        self._nulls = False

    def read(self, text: str) -> Document:
        """Read the one document in `text`."""
        events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        documents = 0
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open(event, {})
            elif kind is yaml.SequenceStartEvent:
                self._open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._stack.pop()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._stop(_start(event), "a policy file holds one YAML document")
        return Document(self._name, self._data, self._nulls, self._root or (1, 1))

    def _scalar(self, event: Any) -> None:
        place = _start(event)
        value: Any = event.value
        if event.tag not in _STRING_TAGS:
            self._tag(place, event.tag)
        elif event.implicit[0] and event.tag is None:
            if value in _WORDS:
                value = _WORDS[value]
            elif _INTEGER.fullmatch(value):
                value = int(value)
        elif event.style == '"' and (bad := _CONTROL.search(value)):
            message = f"control character U+{ord(bad.group()):04X} is not allowed"
            self._problems.add(self._name, place, message)
        self._add(value, place, place)

    def _alias(self, event: Any) -> None:
        place = _start(event)
        self._problems.add(
            self._name,
            place,
            f"{quote('*' + event.anchor)} is a YAML alias, which policies do not have: "
            "put a glob in quotes, and reuse by `define`",
        )
        self._add("*" + event.anchor, place, place)

    def _open(self, event: Any, data: dict[str, Any] | list[Any]) -> None:
        place = _start(event)
        if event.tag not in _CONTAINER_TAGS:
            self._tag(place, event.tag)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(place, f"nested more than {MAX_DEPTH} levels deep")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.data, dict) and top.key is None:
            self._stop(place, "a key must be a name, not a list or mapping")
        node = _Node(place, data, {}, {})
        self._add(data, place, node)
        self._stack.append(node)

    def _add(self, value: Any, place: Place, mark: Any) -> None:
        """Put a value, whose place is `place` and whose node is `mark`, where it belongs."""
        self._room.nodes -= 1
        self._nulls = self._nulls or value is None
        if self._room.nodes < 0:
            self._stop(place, f"more than {MAX_NODES:,} values")
        if not self._stack:
            self._data, self._root = value, mark
            return
        top = self._stack[-1]
        if isinstance(top.data, list):
            top.marks[len(top.data)] = mark
            top.data.append(value)
        elif top.key is None:
            top.key = self._key(top, value, place)
        else:
            key, top.key = top.key, None
            if key not in top.data:
                top.data[key] = value
                top.marks[key] = mark

    def _key(self, top: _Node, value: Any, place: Place) -> str:
        if not isinstance(value, str):
            message = f"a key must be text: put {quote(value)} in quotes"
            self._problems.add(self._name, place, message)
            value = str(value)
        if value in top.keys:
            line, column = top.keys[value]
            message = f"duplicate key {quote(value)}, first at {self._name}:{line}:{column}"
            self._problems.add(self._name, place, message)
        else:
            top.keys[value] = place
        return str(value)

    def _tag(self, place: Place, tag: str) -> None:
        short = quote(tag.replace("tag:yaml.org,2002:", "!!"))
        self._problems.add(self._name, place, f"YAML tag {short} is not allowed in a policy")

    def _stop(self, place: Place, message: str) -> None:
        self._problems.add(self._name, place, message)
        raise _Stop


def _start(event: Any) -> Place:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
