"""Label selectors: what they mean, and how two of them stand to one another."""

from __future__ import annotations

from itertools import product

import pytest

from portwatch.policy.difference.pods import label_sets
from portwatch.policy.words.labels import (
    BadLabels,
    labels_disjoint,
    labels_include,
    labels_text,
    match_labels,
    parse_selector,
    selector_text,
)

SELECTORS = (
    "a", "!a", "a=x", "a!=x", "a in (x,y)", "a notin (x,y)", "b=x", "a=x,b=x", "a,!b", "a=z,b!=x",
    "a notin (x),a", "b in (x,y),a in (y,z)",
)  # fmt: skip
VALUES = (None, "", "x", "y", "z", "other")
LABELS = [
    labels_text({key: value for key, value in (("a", a), ("b", b)) if value is not None})
    for a, b in product(VALUES, VALUES)
]


@pytest.mark.parametrize(
    ("selector", "labels", "meant"),
    [
        ("app=api", "app=api,tier=web", True),
        ("app==api", "app=api", True),
        ("app in (web, api)", "app=api", True),
        ("app=api,tier=web", "app=api", False),
        ("app!=api", "", True),
        ("app notin (a,b)", "x=y", True),
        ("app", "app=", True),
        ("!app", "app=", False),
        ("app=", "app=", True),
        ("app.kubernetes.io/name = x", "app.kubernetes.io/name=x", True),
    ],
)
def test_what_a_selector_means(selector: str, labels: str, meant: bool) -> None:
    """As kubectl's documentation has it."""
    assert match_labels(selector, labels) is meant
    assert match_labels(selector_text(parse_selector(selector)), labels) is meant


@pytest.mark.parametrize(
    "text", ["", ",", "a b", "a=b=c", "a in x", "a in (x", "a=*", "-a", "a/b/c", "a" * 64, "a,,b"]
)
def test_what_is_no_selector(text: str) -> None:
    """What Kubernetes would refuse is refused."""
    with pytest.raises(BadLabels):
        parse_selector(text)


@pytest.mark.parametrize(("one", "other"), list(product(SELECTORS, SELECTORS)))
def test_what_is_told_of_two_is_so(one: str, other: str) -> None:
    """Where one is told to include or exclude the other, no labels say otherwise."""
    if labels_include(one, other):
        assert all(match_labels(one, some) for some in LABELS if match_labels(other, some))
    if labels_disjoint(one, other):
        assert not any(match_labels(one, some) and match_labels(other, some) for some in LABELS)


def test_every_set_of_selectors_has_its_labels() -> None:
    """For each way in which labels can fit some selectors and not the rest, there are labels."""
    possible = {tuple(match_labels(one, some) for one in SELECTORS) for some in LABELS}
    found = {
        tuple(match_labels(one, labels_text(some)) for one in SELECTORS)
        for some in label_sets(SELECTORS)
    }
    assert found == possible
