"""Words that some globs match and others do not: one for every combination that there is.

The globs run side by side over all words of a shape, as automata do; what can be told apart only
by a longer word than any found so far is reached by one more letter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from portwatch.policy.words.glob_automata import Automaton, Letters, elements_of, letter_kinds
from portwatch.policy.words.globs import is_glob, match_name

MAX_STATES = 20_000

_NICE = "xabcdefghijklmnopqrstuvwyz0123456789-_.:@XABCDEFGHIJKLMNOPQRSTUVWYZ\\+~=,#%é"


class Undecided(Exception):
    """There are more combinations than it is worth looking through."""


Shape = tuple[Letters, ...]
ANY_NAME: Shape = (Letters(None, loop=True),)


@dataclass(frozen=True, slots=True)
class View:
    """A glob over a word with something written before and after it."""

    pattern: str
    before: str = ""
    after: str = ""


def text_shape(text: str) -> Shape:
    """The shape of one word only."""
    return tuple(Letters(char) for char in text)


@lru_cache(1024)
def words(shape: Shape, views: tuple[View, ...]) -> dict[int, str]:
    """Return a shortest word of `shape` for every combination of views that match it, as bits.

    Raises Undecided where there are too many.
    """
    alphabet = _alphabet(shape, views)
    within = Automaton(shape, alphabet)
    globs = [Automaton(elements_of(view.pattern), alphabet) for view in views]
    begin = tuple(
        glob.run(glob.start, view.before) for glob, view in zip(globs, views, strict=True)
    )
    letters = [c for c in letter_kinds(alphabet, [within, *globs]) if within.accepts[c]]
    found: dict[int, str] = {}
    first = (within.start, *begin)
    seen = {first}
    queue = deque([(first, "")])
    while queue:
        (position, *masks), word = queue.popleft()
        if position & within.final and word:
            bits = sum(
                1 << number
                for number, (glob, view) in enumerate(zip(globs, views, strict=True))
                if glob.run(masks[number], view.after) & glob.final
            )
            found.setdefault(bits, word)
        for letter in letters:
            place = within.step(position, letter)
            if not place:
                continue
            stepped = (
                glob.step(m, letter) if m else 0 for glob, m in zip(globs, masks, strict=True)
            )
            state = (place, *stepped)
            if state not in seen:
                seen.add(state)
                queue.append((state, word + letter))
        if len(seen) > MAX_STATES:
            raise Undecided
    return found


def _alphabet(shape: Shape, views: Iterable[View]) -> list[str]:
    text = "".join((view.before + view.pattern + view.after) for view in views)
    text += "".join(letters.chars or "" for letters in shape)
    return list(dict.fromkeys(_NICE + text))


def example_of(pattern: str) -> str:
    """Return a word that a glob matches; the glob itself where it has nothing to fill in."""
    if not is_glob(pattern):
        return pattern
    filled = []
    for element in elements_of(pattern):
        if isinstance(element, Letters):
            filled.append("x" if element.chars is None else element.chars)
        else:
            filled.append(next((char for char in _NICE if match_name(element, char)), "x"))
    return "".join(filled)
