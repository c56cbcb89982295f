"""What globs tell apart: every combination that a word can have is found, and no other."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portwatch.policy.difference.words import ANY_NAME, View, example_of, words
from portwatch.policy.words.globs import match_name

LETTERS = "ab-."
globs = st.text("ab*?-", min_size=1, max_size=5) | st.sampled_from(
    ("[ab]*", "[!a]?", "a[!-]*", "*[^b]", "[]a]b", "[", "a[b", "**a", "[!]-]", "[a-b].*")
)
steady = settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=list(HealthCheck)
)


def matched(patterns: list[str], word: str) -> int:
    """The patterns that match a word, as bits."""
    return sum(match_name(pattern, word) << n for n, pattern in enumerate(patterns))


@given(st.lists(globs, max_size=4), st.lists(st.text(LETTERS + "]zé", min_size=1), max_size=20))
@steady
def test_every_combination_is_found(patterns: list[str], samples: list[str]) -> None:
    """A word that is found matches what it is found for, and each word has its like among them."""
    found = words(ANY_NAME, tuple(map(View, patterns)))
    for bits, word in found.items():
        assert matched(patterns, word) == bits
    for word in samples:
        assert matched(patterns, word) in found


def test_what_stands_around_a_word_counts() -> None:
    """A view matches with the text before and after the word."""
    found = words(ANY_NAME, (View("docker-a*.scope", "docker-", ".scope"), View("a?")))
    assert set(found) == {0, 1, 3}
    assert found[1].startswith("a")


@given(globs)
@steady
def test_an_example_matches(pattern: str) -> None:
    """A glob's example is one of its words."""
    assert match_name(pattern, example_of(pattern))
