"""Words that some globs match and others do not: one for every combination that there is.

The globs run side by side over all words of a shape, as automata do; what can be told apart only
by a longer word than any found so far is reached by one more letter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from portwatch.policy.words.globs import is_glob, match_name

MAX_STATES = 20_000

_NICE = "xabcdefghijklmnopqrstuvwyz0123456789-_.:@XABCDEFGHIJKLMNOPQRSTUVWYZ\\+~=,#%é"


class Undecided(Exception):
    """There are more combinations than it is worth looking through."""


@dataclass(frozen=True, slots=True)
class Letters:
    """One element of a shape: a letter out of `chars` (None: any), again where `loop`, perhaps
    none where `skip`."""

    chars: str | None
    loop: bool = False
    skip: bool = False


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
    within = _Automaton(shape, alphabet)
    globs = [_Automaton(_elements(view.pattern), alphabet) for view in views]
    begin = tuple(
        glob.run(glob.start, view.before) for glob, view in zip(globs, views, strict=True)
    )
    letters = _classes(alphabet, [within, *globs])
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


class _Automaton:
    """Bit i of a state: the first i elements have been read."""

    def __init__(self, elements: Sequence[Letters | str], alphabet: Iterable[str]) -> None:
        self.final = 1 << len(elements)
        self._loops = self._skips = 0
        self.accepts = dict.fromkeys(alphabet, 0)
        for number, element in enumerate(elements):
            bit = 1 << number
            if isinstance(element, Letters):
                self._loops |= bit if element.loop else 0
                self._skips |= bit if element.skip else 0
            for char in self.accepts:
                if _takes(element, char):
                    self.accepts[char] |= bit
        self.start = self._closed(1)

    def step(self, state: int, char: str) -> int:
        """Return the state after one more letter."""
        taken = state & self.accepts[char]
        return self._closed(taken << 1 | taken & self._loops)

    def run(self, state: int, text: str) -> int:
        """Return the state after some letters of the alphabet."""
        for char in text:
            state = self.step(state, char)
        return state

    def _closed(self, state: int) -> int:
        while True:
            further = state | (state & self._skips) << 1
            if further == state:
                return state
            state = further


def _elements(pattern: str) -> list[Letters | str]:
    """Cut a glob into letters, stars and brackets, as fnmatch reads it."""
    pattern = pattern.replace("[^", "[!")
    elements: list[Letters | str] = []
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if char == "*":
            elements.append(Letters(None, loop=True, skip=True))
        elif char == "?":
            elements.append(Letters(None))
        elif char == "[" and (end := _bracket_end(pattern, at)) > 0:
            elements.append(pattern[at - 1 : end])
            at = end
        else:
            elements.append(Letters(char))
    return elements


def _bracket_end(pattern: str, at: int) -> int:
    """Return one past the `]` of the bracket that was opened before `at`, 0 where there is none."""
    at += pattern[at : at + 1] == "!"
    end = pattern.find("]", at + 1)
    return end + 1


def _takes(element: Letters | str, char: str) -> bool:
    if isinstance(element, str):
        return match_name(element, char)
    return element.chars is None or char in element.chars


def _alphabet(shape: Shape, views: Iterable[View]) -> list[str]:
    text = "".join((view.before + view.pattern + view.after) for view in views)
    text += "".join(letters.chars or "" for letters in shape)
    return list(dict.fromkeys(_NICE + text))


def _classes(alphabet: Iterable[str], automata: Sequence[_Automaton]) -> list[str]:
    """Return one letter of each kind that no automaton tells apart."""
    kinds: dict[tuple[int, ...], str] = {}
    for char in alphabet:
        kinds.setdefault(tuple(automaton.accepts[char] for automaton in automata), char)
    return [char for kind, char in kinds.items() if kind[0]]


def example_of(pattern: str) -> str:
    """Return a word that a glob matches; the glob itself where it has nothing to fill in."""
    if not is_glob(pattern):
        return pattern
    filled = []
    for element in _elements(pattern):
        if isinstance(element, Letters):
            filled.append("x" if element.chars is None else element.chars)
        else:
            filled.append(next((char for char in _NICE if match_name(element, char)), "x"))
    return "".join(filled)
