"""How two globs stand to one another: does one hold all that the other matches, or none of it?

Both are read as automata side by side, over one letter of each kind that they tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from portwatch.policy.words.glob_automata import (
    UNNAMED,
    Automaton,
    Letters,
    elements_of,
    letter_kinds,
    letters_apart,
    takes,
)
from portwatch.policy.words.globs import (
    canonical_path,
    components,
    is_glob,
    match_name,
    match_path,
)

MAX_PAIRS = 4096
"""How many states of both are looked at; globs that people write need some dozens."""


@lru_cache(16_384)
def name_includes(outer: str, inner: str) -> bool:
    """Return whether every name that `inner` matches is certainly one that `outer` matches; exact
    but for globs of which more than MAX_PAIRS states have to be told apart."""
    if outer in (inner, "*"):
        return True
    if not match_name(outer, example(inner)):
        return False
    if not is_glob(inner):
        return True
    wide, narrow, letters = _side_by_side(outer, inner)
    # What has been read of `inner` → the least that `outer` has read by then: whoever has read
    # more of it finds no name that it lacks which these do not.
    least = {place: [wide.start] for place in _places(narrow.start)}
    todo = [(place, wide.start) for place in least]
    for _ in range(MAX_PAIRS):
        if not todo:
            return True
        place, beside = todo.pop()
        if place == narrow.final and not beside & wide.final:
            return False
        for letter in letters:
            read = wide.step(beside, letter)
            for after in _places(narrow.step(place, letter)):
                known = least.setdefault(after, [])
                if all(other & ~read for other in known):
                    known[:] = [*(other for other in known if read & ~other), read]
                    todo.append((after, read))
    return False


@lru_cache(16_384)
def names_disjoint(one: str, other: str) -> bool:
    """Return whether certainly no name matches both globs; exact."""
    if match_name(one, example(other)) or match_name(other, example(one)):
        return False
    left, right, letters = _side_by_side(one, other)
    todo = [(at, beside) for at in _places(left.start) for beside in _places(right.start)]
    seen = set(todo)
    while todo:
        at, beside = todo.pop()
        if at == left.final and beside == right.final:
            return False
        for letter in letters:
            for pair in (
                (mine, theirs)
                for mine in _places(left.step(at, letter))
                for theirs in _places(right.step(beside, letter))
            ):
                if pair not in seen:
                    seen.add(pair)
                    todo.append(pair)
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
    found = []
    for element in elements_of(pattern):
        if isinstance(element, Letters):
            found.append(element.chars or UNNAMED)
        else:
            found += [char for char in letters_apart([element]) if takes(element, char)][:1]
    return "".join(found)


def _side_by_side(one: str, other: str) -> tuple[Automaton, Automaton, list[str]]:
    alphabet = letters_apart((one, other))
    both = Automaton(elements_of(one), alphabet), Automaton(elements_of(other), alphabet)
    # The unnamed one last, where it is taken first: names that least is known of fail soonest.
    return (*both, letter_kinds(alphabet, both)[::-1])


def _places(state: int) -> Iterator[int]:
    while state:
        low = state & -state
        yield low
        state ^= low
