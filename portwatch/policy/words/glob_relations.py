"""How two globs stand to one another: does one hold all that the other matches, or none of it?

Both are cut into pieces: a character, any character, a class, a star. Works in time of the product
of their lengths, whatever they are: a policy may hold thousands.
"""

from __future__ import annotations

from functools import lru_cache

from portwatch.policy.words.globs import (
    canonical_path,
    components,
    is_glob,
    match_name,
    match_path,
)

_STAR = "*"
_ANY = "?"
_NO_ONES = "\x00"
"""A character that no sensible glob names."""


@lru_cache(16_384)
def name_includes(outer: str, inner: str) -> bool:
    """Return whether every name that `inner` matches is certainly one that `outer` matches.

    Exact where neither has classes. With a character of its own for each gap, a name that `inner`
    matches is its pieces one after another: so the pieces themselves have to fit `outer`.
    """
    if outer in (inner, "*"):
        return True
    if not match_name(outer, example(inner)):
        return False
    if not is_glob(inner):
        return True
    wide = _pieces(outer)
    at = _past_stars(wide, {0})
    for piece in _pieces(inner):
        at = _past_stars(wide, {to for place in at for to in _taking(wide, place, piece)})
    return len(wide) in at


@lru_cache(16_384)
def names_disjoint(one: str, other: str) -> bool:
    """Return whether certainly no name matches both globs; exact."""
    if match_name(one, example(other)) or match_name(other, example(one)):
        return False
    left, right = _pieces(one), _pieces(other)
    seen, pending = {(0, 0)}, [(0, 0)]
    while pending:
        at, beside = pending.pop()
        if at == len(left) and beside == len(right):
            return False
        after = _both_after(left, at, right, beside)
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
def example(pattern: str) -> str:
    """Return a name that the glob matches, if any does, as unlike others as it may be."""
    if not is_glob(pattern):
        return pattern
    return "".join(_character(piece) for piece in _pieces(pattern))


@lru_cache(4096)
def _pieces(pattern: str) -> tuple[str, ...]:
    """Cut a glob as fnmatch reads it; of stars and `?` side by side, the `?` come first."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        length = _class_length(pattern, at) if pattern[at] == "[" else 1
        piece = pattern[at : at + length].replace("[", "[[]", int(length == 1))
        if found[-1:] != [_STAR] or piece not in (_STAR, _ANY):
            found.append(piece)
        elif piece == _ANY:
            found.insert(-1, piece)
        at += length
    return tuple(found)


def _class_length(pattern: str, at: int) -> int:
    """Return the length of the class that begins at `[`, 1 where the bracket stands for itself."""
    first = at + 1
    if pattern[first : first + 1] in ("!", "^"):
        first += 1
    end = pattern.find("]", first + 1)
    return end + 1 - at if end >= 0 else 1


def _both_after(
    left: tuple[str, ...], at: int, right: tuple[str, ...], beside: int
) -> set[tuple[int, int]]:
    """Return where two globs may stand once either has taken a piece more of the same name."""
    mine, theirs = left[at : at + 1], right[beside : beside + 1]
    after = set()
    if mine == (_STAR,):
        after |= {(at + 1, beside), *([(at, beside + 1)] if theirs else [])}
    if theirs == (_STAR,):
        after |= {(at, beside + 1), *([(at + 1, beside)] if mine else [])}
    if not after and mine and theirs and _share(mine[0], theirs[0]):
        after.add((at + 1, beside + 1))
    return after


def _taking(wide: tuple[str, ...], place: int, piece: str) -> tuple[int, ...]:
    """Return where the wide glob stands after it has taken a piece of the narrow one."""
    if place == len(wide):
        return ()
    if wide[place] == _STAR:
        return (place,)
    return (place + 1,) if piece != _STAR and _holds(wide[place], piece) else ()


def _past_stars(wide: tuple[str, ...], places: set[int]) -> set[int]:
    return places | {place + 1 for place in places if wide[place : place + 1] == (_STAR,)}


@lru_cache(4096)
def _holds(wide: str, narrow: str) -> bool:
    """Whether each character that the one piece takes is one that the other takes."""
    if wide in (_ANY, narrow):
        return True
    return narrow != _ANY and all(
        match_name(wide, one) for one in _characters(wide, narrow) if match_name(narrow, one)
    )


@lru_cache(4096)
def _share(one: str, other: str) -> bool:
    """Whether some character is taken by both pieces."""
    characters = _characters(one, other)
    return any(match_name(one, each) and match_name(other, each) for each in characters)


def _characters(*pieces: str) -> list[str]:
    """Return a character of every kind that the pieces tell apart: a class changes its mind only at
    a character that it names, or next to one."""
    codes = {
        ord(character) + step for piece in pieces for character in piece for step in (-1, 0, 1)
    }
    return [chr(code) for code in sorted(codes) if 0 <= code < 0x110000]


def _character(piece: str) -> str:
    if piece in (_STAR, _ANY) or match_name(piece, _NO_ONES):
        return _NO_ONES
    return next((one for one in _characters(piece) if match_name(piece, one)), "")
