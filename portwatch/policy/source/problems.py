"""Collecting what is wrong with a policy, and naming the word that was probably meant.

One problem per place: the first finding at a scalar is the cause, what follows is its echo.
Imports nothing of portwatch but `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from portwatch.errors import PolicyError, Problem

MAX_PROBLEMS = 1000
"""A file with more is not a policy with mistakes but another kind of file."""

# difflib is cubic: a file full of long unknown words must not stall. Enough for a thousand
# misspelt words of 12 letters where 50 are known; words made to be hard cost half a second.
_EFFORT = 8_000_000
_MAX_CANDIDATES = 500
_LONGEST_WORD = 64


class Problems:
    """The problems found so far, over all files of one policy."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int], Problem] = {}
        self._effort_left = _EFFORT

    def __len__(self) -> int:
        return len(self._found)

    def add(self, file: str, place: tuple[int, int], message: str) -> None:
        """Record a problem at `place` (line and column from 1), unless one stands there.

        Raises PolicyError with the first MAX_PROBLEMS: looking for more would only cost.
        """
        self._found.setdefault((file, *place), Problem(file, *place, message))
        if len(self._found) >= MAX_PROBLEMS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise one PolicyError that lists every problem, if there is one."""
        if self._found:
            raise PolicyError(list(self._found.values()))

    def did_you_mean(self, word: str, candidates: Iterable[str]) -> str:
        """`; did you mean `deny`?` for the nearest of `candidates`, empty where none is near."""
        if not 0 < len(word) <= _LONGEST_WORD or self._effort_left < 0:
            return ""
        known = [c for c in islice(candidates, _MAX_CANDIDATES) if len(c) <= _LONGEST_WORD]
        self._effort_left -= len(word) * sum(map(len, known))
        near = nearest(word, known) if self._effort_left >= 0 else None
        return f"; did you mean {quote(near)}?" if near else ""


def nearest(word: str, candidates: Sequence[str]) -> str | None:
    """Return the candidate that looks most like `word`, None where none does."""
    import difflib  # only bad policies need it

    folded = {candidate.lower(): candidate for candidate in reversed(candidates)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if close:
        return folded[close[0]]
    starting = [c for c in folded if len(word) > 1 and c.startswith(word.lower())]
    return folded[starting[0]] if len(starting) == 1 else None


def quote(value: object) -> str:
    """Return `value` between backticks, on one line, shortened to what a message can carry."""
    text = value if isinstance(value, str) else _plain(value)
    text = "".join(c if c.isprintable() else "\ufffd" for c in text[:80])
    return f"`{text[:57]}…`" if len(text) > 60 else f"`{text}`"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        return "[…]"
    return str(value)
