"""Pods that selectors tell apart: one for every combination of them that there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from portwatch.policy.difference.words import ANY_NAME, Undecided, View, example_of, words
from portwatch.policy.pod import KnownPod, Labels
from portwatch.policy.words.labels import parse_selector, told_apart
from portwatch.policy.workload import OF_API_SERVER, Selector

MAX_LABEL_SETS = 4096
EXAMPLE_UID = "00000000-0000-4000-8000-000000000001"


def pods(selectors: Sequence[Selector]) -> Iterator[KnownPod | None]:
    """Yield None, for a pod that is not known, and pods such that every pod has the like of it
    among them. Raises Undecided where there are too many."""
    yield None
    given = {key for selector in selectors for key in selector.given_keys}
    if not given & set(OF_API_SERVER):
        return
    namespaces, names, accounts = (
        list(words(ANY_NAME, tuple(map(View, patterns))).values()) if patterns else [""]
        for patterns in (
            _patterns(selectors, key) for key in ("pod_namespace", "pod_name", "pod_account")
        )
    )
    labels = list(label_sets(_patterns(selectors, "pod_labels")))
    for namespace, name, some, account in product(namespaces, names, labels, accounts):
        yield KnownPod(EXAMPLE_UID, namespace or "default", name or "x", some, account or "default")


def label_sets(selectors: Sequence[str]) -> Iterator[Labels]:
    """Yield labels for every set of the selectors that can mean the same labels."""
    every = (1 << len(selectors)) - 1
    found: dict[int, dict[str, str]] = {every: {}}  # selectors that mean them, as far as was read
    for key, values in told_apart(selectors):
        wanted = [
            [one for one in parse_selector(selector) if one.key == key] for selector in selectors
        ]
        further: dict[int, dict[str, str]] = {}
        for value in values:
            fitting = sum(
                1 << number
                for number, asked in enumerate(wanted)
                if all(one.holds(value) for one in asked)
            )
            for meant, labels in found.items():
                more = {} if value is None else {key: value}
                further.setdefault(meant & fitting, labels | more)
        if len(further) > MAX_LABEL_SETS:
            raise Undecided
        found = further
    for labels in found.values():
        yield tuple(sorted(labels.items()))


def typical_pod(selector: Selector) -> KnownPod | None:
    """Return the pod that a selector most likely means, as one of which all patterns match."""
    if not any(getattr(selector, key) for key in OF_API_SERVER) or "false" in selector.pod_known:
        return None
    sets = label_sets((",".join(selector.pod_labels),)) if selector.pod_labels else [()]
    return KnownPod(
        EXAMPLE_UID,
        example_of((*selector.pod_namespace, "default")[0]),
        example_of((*selector.pod_name, "x")[0]),
        next((some for some in sets if _has_all(dict(some), selector.pod_labels)), ()),
        example_of((*selector.pod_account, "default")[0]),
    )


def _has_all(labels: dict[str, str], selectors: Sequence[str]) -> bool:
    return all(one.holds(labels.get(one.key)) for text in selectors for one in parse_selector(text))


def _patterns(selectors: Sequence[Selector], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pattern for s in selectors for pattern in getattr(s, key)))
