"""How globs and selectors stand to one another: what is told is so for every name."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator

import pytest
from hypothesis import example as drawn
from hypothesis import given
from hypothesis import strategies as st

from portwatch.policy.selector_relations import excludes, implies
from portwatch.policy.words.glob_relations import (
    example,
    name_includes,
    names_disjoint,
    path_includes,
    paths_disjoint,
)
from portwatch.policy.words.globs import match_name, match_path
from portwatch.policy.workload import Selector

ALPHABET = "abz-[q"
NAMES = ["".join(name) for size in range(6) for name in itertools.product(ALPHABET, repeat=size)]
PIECES = ("a", "b", "-", "*", "?", "[ab]", "[!a]", "[a-b]", "[", "z*")


def short_globs(size: int) -> st.SearchStrategy[str]:
    """Globs of so few pieces that a shortest shared name is among NAMES."""
    return st.lists(st.sampled_from(PIECES), max_size=size).map("".join)


plain_globs = st.lists(st.sampled_from(("a", "b", "-", "*", "?", "*")), max_size=5).map("".join)
globs = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


def hardest_names(inner: str, outer: str) -> Iterator[str]:
    """Names of a glob without classes; another that has them all has every name of it. Its stars
    and question marks are filled with a letter that neither glob names, and each star up to the
    length from where on a star of `outer` takes the rest."""
    first, *others = re.sub(r"\*+", "*", inner).replace("?", "z").split("*")
    for sizes in itertools.product(range(len(outer) + 2), repeat=len(others)):
        yield first + "".join("z" * size + part for size, part in zip(sizes, others, strict=True))


@given(globs, globs)
def test_what_is_included_is(outer: str, inner: str) -> None:
    """One glob is told to hold another only where it matches all the names that the other does."""
    if name_includes(outer, inner):
        assert all(match_name(outer, name) for name in NAMES if match_name(inner, name))


@given(plain_globs, plain_globs)
@drawn("*a?", "aaaa*")
def test_inclusion_is_exact_without_classes(outer: str, inner: str) -> None:
    """Without classes, one glob is told to hold another wherever it does."""
    found = [name for name in NAMES if match_name(inner, name)]
    found += hardest_names(inner, outer)
    assert name_includes(outer, inner) is all(match_name(outer, name) for name in found)


@given(short_globs(2), short_globs(3))
def test_inclusion_is_exact_with_classes(outer: str, inner: str) -> None:
    """With classes too, one glob is told to hold another wherever it does."""
    found = [name for name in NAMES if match_name(inner, name)]
    assert name_includes(outer, inner) is all(match_name(outer, name) for name in found)


@given(globs)
def test_an_example_matches(pattern: str) -> None:
    """The example of a glob is a name that it matches, wherever there is one."""
    assert match_name(pattern, example(pattern)) or not any(match_name(pattern, n) for n in NAMES)


@given(short_globs(2), short_globs(3))
def test_disjointness_is_exact(one: str, other: str) -> None:
    """Two globs are disjoint exactly where no name matches both."""
    shared = [name for name in NAMES if match_name(one, name) and match_name(other, name)]
    assert names_disjoint(one, other) is (not shared)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("shop-*.service", "shop-a.service", True),
        ("shop-*.service", "shop-*-api.service", True),
        ("shop-*-api.service", "shop-*.service", False),
        ("shop-[ab].service", "shop-a.service", True),
        ("*", "?", True),
        ("*-*", "*-*-*", True),
        ("[a-c]", "[ab]", True),
        ("[!x]", "[a-w]", True),
        ("[!x]", "?", False),
        ("?*", "*?", True),
        ("a*?", "a*a", True),
        ("[ab]*", "[!c-z]", False),
    ],
)
def test_inclusion(outer: str, inner: str, expected: bool) -> None:
    """Globs of the kind that people write are told apart."""
    assert name_includes(outer, inner) is expected


def test_globs_made_to_be_hard() -> None:
    """Globs whose automata are large are told apart at once like any others."""
    assert not name_includes("*a" + "?" * 24 + "b*", "*a" + "?" * 25 + "c*" * 8)
    assert name_includes("*a" + "?" * 24 + "b*", "x*a" + "?" * 24 + "b*" * 8)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("/ci", "/ci/job", True),
        ("/ci/**", "/ci", True),
        ("/ci", "/ci/*/build", True),
        ("/", "/**/x", True),
        ("/ci/*", "/ci/job", True),
        ("/ci/job", "/ci", False),
        ("/ci", "/city", False),
    ],
)
def test_path_inclusion(outer: str, inner: str, expected: bool) -> None:
    """A path holds what lies below it, and what is told holds for a path that matches."""
    assert path_includes(outer, inner) is expected
    example = inner.replace("**", "k").replace("*", "k")
    assert match_path(inner, example)
    assert not expected or match_path(outer, example)


def test_disjoint_paths() -> None:
    """Two paths share nothing where neither is below the other."""
    assert paths_disjoint("/a/b", "/a/c")
    assert not paths_disjoint("/a", "/a/c")
    assert not paths_disjoint("/a/*", "/b")


def test_fnmatch_reads_classes_as_we_cut_them() -> None:
    """A bracket without its end is a bracket, and a class may begin with its closing one."""
    assert fnmatch.fnmatchcase("[a", "[a")
    assert name_includes("[a", "[[]a")
    assert name_includes("[]x]", "]")
    assert names_disjoint("[!]]", "]")


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        (Selector(unit=("a.service",)), Selector(unit=("*.service",)), True),
        (Selector(unit=("a.service",), user=("x",)), Selector(unit=("a.service",)), False),
        (Selector(unit=("a.service",), user=(5,)), Selector(user=(5, 6)), True),
        (Selector(unit=("a.service",)), Selector(unit=("a.service",), user=("x",)), False),
        (Selector(unit=("a.service", "b.service")), Selector(unit=("a.service",)), False),
        (Selector(user=("x",)), Selector(user=(5,)), False),
        (Selector(container=("3f2a3f2a3f2a",)), Selector(container=("3f2a*",)), False),
        (Selector(container=("db",)), Selector(container=("d?",)), True),
        (Selector(cgroup=("/ci/a",)), Selector(cgroup=("/ci/**",)), True),
    ],
)
def test_implication(narrow: Selector, wide: Selector, expected: bool) -> None:
    """A selector implies another where each of its keys lies in the other's, claims included."""
    assert implies(narrow, wide) is expected


def test_exclusion() -> None:
    """Selectors exclude each other by a key that has one value, and whose names are not claimed."""
    one, other = Selector(unit=("a.service",)), Selector(unit=("b-*.service",))
    assert excludes(one, other)
    assert not excludes(one, Selector(unit=("b.service",), user=("x",)))
    assert not excludes(Selector(user=("x",)), Selector(user=("y",)))
    assert excludes(Selector(user=(1,)), Selector(user=(2,)))
