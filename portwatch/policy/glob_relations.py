"""How two globs over names stand to one another: does one hold all of the other, or nothing of it?

Exact for names; of cgroup paths only what is plain from their components. A glob is a small
automaton: at each of its positions stands a character, any character, a class, or a star.
"""

from __future__ import annotations

from functools import lru_cache

from portwatch.policy.globs import (
    canonical_path,
    components,
    is_glob,
    literal_prefix,
    match_name,
    match_path,
)

MAX_STATES = 20_000
"""Pairs of positions looked at before the answer is "not known to be so"."""

_STAR = "*"


@lru_cache(16_384)
def name_includes(outer: str, inner: str) -> bool:
    """Return whether every name that `inner` matches is one that `outer` matches."""
    if outer in (inner, "*"):
        return True
    if not is_glob(inner):
        return match_name(outer, inner)
    if not is_glob(outer) or not literal_prefix(inner).startswith(literal_prefix(outer)):
        return False
    narrow, wide = _tokens(inner), _tokens(outer)
    alphabet = _alphabet(narrow, wide)
    start = (0, _closure(wide, frozenset({0})))
    seen, pending = {start}, [start]
    while pending:
        at, within = pending.pop()
        if at == len(narrow) and len(wide) not in within:
            return False
        for after in _steps_beside(narrow, at, alphabet, wide, within):
            if after not in seen:
                if len(seen) >= MAX_STATES:
                    return False
                seen.add(after)
                pending.append(after)
    return True


@lru_cache(16_384)
def names_disjoint(one: str, other: str) -> bool:
    """Return whether no name matches both globs."""
    if not is_glob(one):
        return not match_name(other, one)
    if not is_glob(other):
        return not match_name(one, other)
    left, right = _tokens(one), _tokens(other)
    alphabet = _alphabet(left, right)
    seen, pending = {(0, 0)}, [(0, 0)]
    while pending:
        at, beside = pending.pop()
        if at == len(left) and beside == len(right):
            return False
        after = {
            *((at + 1, beside) for _ in left[at : at + 1] if left[at] == _STAR),
            *((at, beside + 1) for _ in right[beside : beside + 1] if right[beside] == _STAR),
            *(
                (to, there)
                for character in alphabet
                for to in _step(left, at, character)
                for there in _step(right, beside, character)
            ),
        }
        if len(seen) >= MAX_STATES:
            return False
        pending.extend(after - seen)
        seen |= after
    return True


def path_includes(outer: str, inner: str) -> bool:
    """Return whether every cgroup below `inner` is known to be below `outer`."""
    outer, inner = canonical_path(outer), canonical_path(inner)
    if outer in (inner, "/"):
        return True
    if not is_glob(inner):
        return match_path(outer, inner)
    if is_glob(outer):
        return False
    wanted = components(outer)
    return components(inner)[: len(wanted)] == wanted


def paths_disjoint(one: str, other: str) -> bool:
    """Return whether no cgroup is known to be below both."""
    if is_glob(one) or is_glob(other):
        return False
    pairs = zip(components(one), components(other), strict=False)
    return any(left != right for left, right in pairs)


@lru_cache(4096)
def _tokens(pattern: str) -> tuple[str, ...]:
    """Cut a glob into stars, `?`, classes and characters, as fnmatch reads it."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        length = _class_length(pattern, at) if pattern[at] == "[" else 1
        piece = pattern[at : at + length].replace("[", "[[]", int(length == 1))
        if piece != _STAR or found[-1:] != [_STAR]:
            found.append(piece)
        at += length
    return tuple(found)


def _class_length(pattern: str, at: int) -> int:
    """Return the length of the class that begins at `[`, 1 where the bracket stands for itself."""
    first = at + 1
    if pattern[first : first + 1] in ("!", "^"):
        first += 1
    end = pattern.find("]", first + 1)
    return end + 1 - at if end >= 0 else 1


def _alphabet(*globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return a character of every kind that the globs tell apart: classes change their mind only
    at a character that they name, or next to one."""
    named = {ord(character) for glob in globs for token in glob for character in token}
    near = {code + step for code in named for step in (-1, 0, 1)}
    return tuple(chr(code) for code in sorted(near) if 0 <= code < 0x110000)


def _step(glob: tuple[str, ...], at: int, character: str) -> tuple[int, ...]:
    """Return the position after one more character, none where it does not fit."""
    if at == len(glob):
        return ()
    if glob[at] == _STAR:
        return (at,)
    return (at + 1,) if match_name(glob[at], character) else ()


def _closure(glob: tuple[str, ...], positions: frozenset[int]) -> frozenset[int]:
    """Return the positions with those past the stars that they stand at."""
    found = set(positions)
    for position in positions:
        while position < len(glob) and glob[position] == _STAR:
            position += 1
            found.add(position)
    return frozenset(found)


def _steps_beside(
    narrow: tuple[str, ...],
    at: int,
    alphabet: tuple[str, ...],
    wide: tuple[str, ...],
    within: frozenset[int],
) -> set[tuple[int, frozenset[int]]]:
    """Return where both may stand next: one position of the narrow glob, all of the wide one."""
    found = set()
    if narrow[at : at + 1] == (_STAR,):
        found.add((at + 1, within))
    for character in alphabet:
        for to in _step(narrow, at, character):
            there = (step for position in within for step in _step(wide, position, character))
            found.add((to, _closure(wide, frozenset(there))))
    return found
