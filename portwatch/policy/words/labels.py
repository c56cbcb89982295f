"""Label selectors as Kubernetes has them, and the labels that they are held against, as text.

Labels are `app=api,tier=web`, by key; a selector is what `kubectl get --selector` takes:
`app=api,tier in (api,web),canary!=yes,team,!legacy`. All of its requirements have to hold. As in
Kubernetes `!=` and `notin` hold for a pod that has no such label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_PART = re.compile(
    r"""\s*(?:
    (?P<without>!)\s*(?P<absent>[^\s!=,()]+)
    | (?P<key>[^\s!=,()]+)\s*(?:
        (?P<one>==?|!=)\s*(?P<value>[^\s!=,()]*)
        | (?P<set>in|notin)\s*\((?P<values>[^()]*)\)
      )?
    )\s*""",
    re.VERBOSE,
)


def is_object_name(text: str) -> bool:
    """Return whether a Kubernetes object may be called so: a DNS subdomain's name (RFC 1123)."""
    return _SUBDOMAIN.fullmatch(text) is not None


class BadLabels(ValueError):
    """Not a label selector; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one label has to be. `values` are sorted, and empty where only its presence counts."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    @staticmethod
    def of(key: str, operator: Operator, values: Iterable[str] = ()) -> Requirement:
        """Check one as Kubernetes does. Raises BadLabels."""
        prefix, slash, name = key.rpartition("/")
        if not name or not _VALUE.fullmatch(name) or (slash and not is_object_name(prefix)):
            raise BadLabels(f"`{key[:80]}` is no label's key")
        found = tuple(sorted(set(values)))
        for value in found:
            if not _VALUE.fullmatch(value):
                globs = ": labels have no globs, list the values" if "*" in value else ""
                raise BadLabels(f"`{value[:80]}` is no label's value{globs}")
        if bool(found) != (operator in ("In", "NotIn")):
            raise BadLabels(f"{operator} takes {'no' if found else 'one or more'} values")
        return Requirement(key, operator, found)

    def holds(self, value: str | None) -> bool:
        """Return whether it holds for a pod whose label has this value, None where it has none."""
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        return (value is not None) == (self.operator == "Exists")

    def __str__(self) -> str:
        if self.operator == "Exists":
            return self.key
        if self.operator == "DoesNotExist":
            return f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'In' else '!='}{self.values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"


def selector_text(requirements: Iterable[Requirement]) -> str:
    """Return the one way in which these requirements are written."""
    return ",".join(sorted({str(one) for one in requirements}))


@lru_cache(1024)
def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Read a selector. Raises BadLabels; an empty one means nothing, and is refused."""
    found = []
    at = 0
    while True:
        part = _PART.match(text, at)
        if part is None:
            raise BadLabels(f"`{text[:80]}` is no label selector, such as `app=api,tier in (a,b)`")
        found.append(_requirement(part))
        at = part.end()
        if at == len(text):
            return tuple(found)
        if text[at] != ",":
            raise BadLabels(f"`{text[:80]}`: a comma is missing before `{text[at : at + 20]}`")
        at += 1


def labels_text(labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Return a pod's labels in the one way in which they are written."""
    return ",".join(f"{key}={value}" for key, value in sorted(dict(labels).items()))


@lru_cache(1024)
def labels_of(text: str) -> Mapping[str, str]:
    """Return the labels that a text of labels_text() holds."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {key: value for key, _, value in pairs}


def match_labels(selector: str, text: str) -> bool:
    """Return whether labels, as labels_text() has them, are meant by a selector."""
    labels = labels_of(text)
    return all(one.holds(labels.get(one.key)) for one in parse_selector(selector))


def labels_include(outer: str, inner: str) -> bool:
    """Return whether whatever `inner` means is certainly meant by `outer`."""
    narrow = parse_selector(inner)
    return all(any(_implies(one, wide) for one in narrow) for wide in parse_selector(outer))


def labels_disjoint(one: str, other: str) -> bool:
    """Return whether certainly no labels are meant by both."""
    return any(
        left.key == right.key and not _may_both_hold(left, right)
        for left in parse_selector(one)
        for right in parse_selector(other)
    )


def told_apart(selectors: Iterable[str]) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """Yield each key that selectors ask for, with a value for every way it can be: absent, each
    that is named, and one that is not."""
    named: dict[str, dict[str, None]] = {}
    for selector in selectors:
        for one in parse_selector(selector):
            named.setdefault(one.key, {}).update(dict.fromkeys(one.values))
    for key, values in named.items():
        other = next(word for word in _others() if word not in values)
        yield key, (None, *values, other)


def _others() -> Iterator[str]:
    yield "x"
    number = 0
    while True:
        number += 1
        yield f"x{number}"


def _requirement(part: re.Match[str]) -> Requirement:
    if part["without"]:
        return Requirement.of(part["absent"], "DoesNotExist")
    if part["one"]:
        return Requirement.of(
            part["key"], "NotIn" if part["one"] == "!=" else "In", (part["value"],)
        )
    if part["set"]:
        values = [value.strip() for value in part["values"].split(",")]
        return Requirement.of(part["key"], "In" if part["set"] == "in" else "NotIn", values)
    return Requirement.of(part["key"], "Exists")


def _samples(one: Requirement, other: Requirement) -> tuple[str | None, ...]:
    """Return values of a key such that every value is like one of them to both requirements."""
    values = dict.fromkeys((*one.values, *other.values))
    return (None, *values, next(word for word in _others() if word not in values))


def _implies(narrow: Requirement, wide: Requirement) -> bool:
    return narrow.key == wide.key and all(
        wide.holds(value) for value in _samples(narrow, wide) if narrow.holds(value)
    )


def _may_both_hold(one: Requirement, other: Requirement) -> bool:
    return any(one.holds(value) and other.holds(value) for value in _samples(one, other))
