"""Globs as automata over the kinds of characters that they tell apart: bit i of a state says that
the first i elements have been read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portwatch.policy.words.globs import match_name


@dataclass(frozen=True, slots=True)
class Letters:
    """One element of a shape: a letter out of `chars` (None: any), again where `loop`, perhaps
    none where `skip`."""

    chars: str | None
    loop: bool = False
    skip: bool = False


UNNAMED = "\x00"
"""A letter that no policy can name."""

Element = Letters | str
"""A string is a bracket, as fnmatch reads it."""


class Automaton:
    """Reads names letter by letter; `accepts`: which elements take which letter of the alphabet."""

    def __init__(self, elements: Sequence[Element], alphabet: Iterable[str]) -> None:
        self.final = 1 << len(elements)
        self._loops = self._skips = 0
        self.accepts = dict.fromkeys(alphabet, 0)
        for number, element in enumerate(elements):
            bit = 1 << number
            if isinstance(element, Letters):
                self._loops |= bit if element.loop else 0
                self._skips |= bit if element.skip else 0
            for char in self.accepts:
                if takes(element, char):
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


def letter_kinds(alphabet: Iterable[str], automata: Sequence[Automaton]) -> list[str]:
    """Return one letter of each kind that no automaton tells apart."""
    kinds: dict[tuple[int, ...], str] = {}
    for char in alphabet:
        kinds.setdefault(tuple(automaton.accepts[char] for automaton in automata), char)
    return list(kinds.values())


def elements_of(pattern: str) -> list[Element]:
    """Cut a glob into letters, stars and brackets, as fnmatch reads it."""
    pattern = pattern.replace("[^", "[!")
    elements: list[Element] = []
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


def letters_apart(patterns: Iterable[str]) -> list[str]:
    """Return a letter of every kind that globs tell apart, UNNAMED first: a bracket changes its
    mind only at a letter that it names, or next to one."""
    codes = {ord(UNNAMED)}
    for glob in patterns:
        steps = (-1, 0, 1) if "[" in glob else (0,)
        codes |= {ord(char) + step for char in glob for step in steps}
    return [chr(code) for code in sorted(codes) if 0 <= code <= sys.maxunicode]


def takes(element: Element, char: str) -> bool:
    """Return whether an element is met by a letter."""
    if isinstance(element, str):
        return match_name(element, char)
    return element.chars is None or char in element.chars


def _bracket_end(pattern: str, at: int) -> int:
    """Return one past the `]` of the bracket that was opened before `at`, 0 where there is none."""
    at += pattern[at : at + 1] == "!"
    end = pattern.find("]", at + 1)
    return end + 1
