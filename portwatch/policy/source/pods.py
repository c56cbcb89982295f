"""`pod` in a selector → patterns over what is known of pods, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from portwatch.policy.source.problems import quote
from portwatch.policy.words.containers import is_pod_uid
from portwatch.policy.words.labels import BadLabels, Requirement, parse_selector, selector_text
from portwatch.policy.words.places import place_of

if TYPE_CHECKING:
    from portwatch.policy.source.merge import Merged, Spot

_UID_GLOB = re.compile(r"[0-9a-f*?!\[\]^-]*[*?\[][0-9a-f*?!\[\]^-]*", re.ASCII)
_NAME_GLOB = re.compile(r"[a-z0-9.*?!\[\]^-]+", re.ASCII)
_NAMES = {"namespace": "pod_namespace", "name": "pod_name", "serviceAccount": "pod_account"}


def read_pods(spot: Spot, merged: Merged) -> dict[str, tuple[str, ...]]:
    """Return the fields of a Selector that a selector's `pod` means; problems are recorded."""
    pod = spot.get("pod")
    if pod is None or not isinstance(pod.value, dict):
        return {"pod": _uids(values_of(spot, "pod"), merged)}
    if not pod.value and (pod.document.name, pod.path) not in merged.damaged:
        merged.report(pod, 'the selector is empty; `pod: "*"` means every pod')
    fields = {"pod": _uids(values_of(pod, "uid"), merged), "pod_labels": _labels(pod, merged)}
    for key, field in _NAMES.items():
        values = values_of(pod, key)
        fields[field] = tuple(value.value for value in values)
        for value in values:
            if not _NAME_GLOB.fullmatch(value.value):
                message = f"{quote(value.value)} can be no pod's {key}: small letters, digits, - ."
                merged.report(value, message)
    known = pod.get("known")
    if known is not None:
        fields["pod_known"] = (str(known.value).lower(),)
        if not known.value and pod.value.keys() - {"known", "uid"}:
            merged.report(known, "of a pod that is not known nothing else is either: only `uid`")
    return fields


def values_of(spot: Spot, key: str) -> list[Spot]:
    """Return the value at a key, or those in the list there; none where there is no such key."""
    value = spot.get(key)
    if value is None:
        return []
    return value.items() if isinstance(value.value, list) else [value]


def _uids(values: list[Spot], merged: Merged) -> tuple[str, ...]:
    """Return the uids, or globs over them, that are meant: a path is that of its pod's uid."""
    found = []
    for value in values:
        uid = _uid(value.value)
        if uid is None:
            merged.report(value, _bad_uid(value.value))
        else:
            found.append(uid)
    return tuple(found)


def _uid(text: str) -> str | None:
    if text.startswith("/"):
        return place_of(text).pod
    return text if is_pod_uid(text) or _UID_GLOB.fullmatch(text) else None


def _bad_uid(text: str) -> str:
    if text.startswith("/"):
        return f"{quote(text)} is no pod's cgroup: the kubelet's are `…/podUID` or `…-podUID.slice`"
    meant = quote(text)[1:-1]
    return f"{quote(text)} is no pod's uid: by its name it is `pod: {{name: {meant}}}`"


def _labels(pod: Spot, merged: Merged) -> tuple[str, ...]:
    """Return all that is asked of labels as one selector, none where nothing is."""
    found: list[Requirement] = []

    def take(spot: Spot, read: Callable[[Spot], Iterable[Requirement]]) -> None:
        try:
            found.extend(read(spot))
        except BadLabels as err:
            merged.report(spot, str(err))

    for mapping in (pod.get("labels"), pod.get("matchLabels")):
        if mapping is not None and isinstance(mapping.value, str):
            take(mapping, lambda spot: parse_selector(spot.value))
        elif mapping is not None:
            if not mapping.value and (mapping.document.name, mapping.path) not in merged.damaged:
                merged.report(mapping, "there is no label in it; leave it out to mean any labels")
            for key in mapping.value:
                take(mapping.at(key), _one_of)
    expressions = pod.get("matchExpressions")
    for spot in expressions.items() if expressions else ():
        take(spot, _expression)
    return (selector_text(found),) if found else ()


def _one_of(value: Spot) -> Iterator[Requirement]:
    values = value.items() if isinstance(value.value, list) else [value]
    yield Requirement.of(str(value.path[-1]), "In", (one.value for one in values))


def _expression(given: Spot) -> Iterator[Requirement]:
    if {"key", "operator"} <= given.value.keys():  # else the shape is wrong, and that was said
        values = (value.value for value in values_of(given, "values"))
        yield Requirement.of(given.value["key"], given.value["operator"], values)
