"""Cgroup paths that selectors tell apart: one for every combination of them that there is.

Components are drawn from what the patterns and the layouts of systemd and the engines can tell
apart, and paths grow by one component for as long as that leads to something new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from portwatch.policy.difference.words import ANY_NAME, Undecided, View, text_shape, words
from portwatch.policy.tables.subject_classes import SubjectClasses
from portwatch.policy.words.containers import RUNTIMES, is_id_prefix
from portwatch.policy.words.glob_automata import Letters
from portwatch.policy.words.globs import canonical_path, components, is_glob, match_name
from portwatch.policy.words.places import place_of
from portwatch.policy.words.systemd import user_of_manager, walk_units
from portwatch.policy.workload import CONTAINED_KEYS, POD_KEYS, KnownContainer, Selector

MAX_LOOKS = 20_000
"""How many paths are looked at, once."""


VERIFIED = KnownContainer(is_verified=True)

_UNIT_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-\\"
_UNIT_TYPES = (
    *("service", "scope", "socket", "mount", "swap", "timer"),
    *("path", "target", "device", "automount"),
)
_HEX = "0123456789abcdef"
_DIGITS = Letters("0123456789")
_ID = (Letters(_HEX),) * 64
_POD_DIRECTORIES = ("kubepods", "burstable")
_TELLING = frozenset((*_POD_DIRECTORIES, "besteffort", "libpod_parent"))
_OF_UNITS = ("unit", "slice")


class Patience:
    """How many paths may be looked at yet, in all searches together."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    def spend(self, looks: int = 1) -> None:
        """Count so many more. Raises Undecided where it is one too many."""
        self._left -= looks
        if self._left < 0:
            raise Undecided


def paths(
    selectors: Sequence[Selector], is_dead: Callable[[str], bool], patience: Patience
) -> Iterator[str]:
    """Yield cgroup paths such that every path has the like of it among them, for the selectors
    and whatever its container is called. None goes on from one that `is_dead`.

    Raises Undecided where there are too many.
    """
    yield "/"
    parts = list(dict.fromkeys(_components(selectors)))
    classes = SubjectClasses(selectors, {}, {})
    globs = {path for selector in selectors for path in map(canonical_path, selector.cgroup)}
    walks = [_PathWalk(glob) for glob in sorted(globs)]
    seen = {_likeness((), classes, walks)}
    queue: deque[tuple[str, ...]] = deque([()])
    looks = 0
    while queue:
        path = queue.popleft()
        for part in parts:
            longer = (*path, part)
            likeness = _likeness(longer, classes, walks)
            looks += 1
            patience.spend()
            if looks > MAX_LOOKS:
                raise Undecided
            if likeness not in seen:
                seen.add(likeness)
                text = "/" + "/".join(longer)
                if not is_dead(text):
                    yield text
                    queue.append(longer)


def _likeness(
    path: tuple[str, ...], classes: SubjectClasses, walks: Sequence[_PathWalk]
) -> tuple[object, ...]:
    """Return what has to be the same for two paths, and for all that go on alike from them."""
    text = "/" + "/".join(path)
    place = place_of(text)
    _, unit, at = walk_units(path, 0)
    manager = user_of_manager(unit) is not None
    _, _, user_at = walk_units(path, at + 1) if manager else ((), None, 0)
    return (
        classes.cgroup_bits(text, None),
        classes.cgroup_bits(text, VERIFIED) if classes.uses_engines or place.pod else 0,
        unit is None and at == len(path),
        unit is None,
        manager and user_at >= len(path),
        place.user_unit is None,
        place.container is None,
        place.pod is None,
        place.holds_pods,
        place.is_claimed,
        path[-1] if path and path[-1] in _TELLING else None,
        *(walk.state(path) for walk in walks),
    )


class _PathWalk:
    """How far a path glob has been read; read to its end it stays so."""

    def __init__(self, pattern: str) -> None:
        self._parts = components(pattern)

    def state(self, path: tuple[str, ...]) -> int:
        """Bit i: the first i components of the pattern have been read. -1: all have."""
        state = self._closed(1)
        for component in path:
            if state >> len(self._parts) & 1:
                break
            after = 0
            for number, part in enumerate(self._parts):
                if not state >> number & 1:
                    continue
                if part == "**":
                    after |= 1 << number
                elif match_name(part, component):
                    after |= 2 << number
            state = self._closed(after)
        return -1 if state >> len(self._parts) & 1 else state

    def _closed(self, state: int) -> int:
        for number, part in enumerate(self._parts):
            if part == "**" and state >> number & 1:
                state |= 2 << number
        return state


def _components(selectors: Sequence[Selector]) -> Iterator[str]:
    """Yield components: of each layout, one for every combination of patterns that there is."""
    given = {key for selector in selectors for key in selector.given_keys}
    globs = tuple(
        dict.fromkeys(
            part
            for selector in selectors
            for path in selector.cgroup
            for part in components(path)
            if part != "**"
        )
    )
    literals = tuple(part for part in globs if not is_glob(part))
    if given & {*_OF_UNITS, *CONTAINED_KEYS}:
        yield from _slices(_patterns(selectors, "slice"), globs)
        yield from _units(_patterns(selectors, "unit"), globs)
        if any(s.counts_claims(key) for s in selectors for key in _OF_UNITS if getattr(s, key)):
            yield from _managers(_patterns(selectors, "unit"), globs)
    if given & {"cgroup", *_OF_UNITS, *CONTAINED_KEYS}:
        yield from words(ANY_NAME, tuple(map(View, globs))).values()
        yield from literals
    if given & set(POD_KEYS):
        yield from _POD_DIRECTORIES
        yield from _pods(_patterns(selectors, "pod"), globs)
    ids = tuple(word for word in _patterns(selectors, "container") if is_id_prefix(word))
    if ids:
        yield from _containers(ids, globs)


def _patterns(selectors: Iterable[Selector], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pattern for s in selectors for pattern in getattr(s, key)))


def _slices(patterns: tuple[str, ...], globs: tuple[str, ...]) -> Iterator[str]:
    shape = (Letters(_UNIT_LETTERS, loop=True), *text_shape(".slice"))
    yield "system.slice"
    yield from _escaped(shape, patterns, globs)


def _units(patterns: tuple[str, ...], globs: tuple[str, ...]) -> Iterator[str]:
    yield from _literal_units(patterns)
    named = "".join((*patterns, *globs))
    for suffix in _UNIT_TYPES:
        if suffix != "service" and suffix not in named:
            continue
        body = Letters(_UNIT_LETTERS, loop=True)
        end = text_shape("." + suffix)
        yield from _escaped((body, *end), patterns, globs)
        if "@" in named:
            instance = Letters(_UNIT_LETTERS + "@", loop=True)
            yield from _escaped((body, Letters("@"), instance, *end), patterns, globs)


def _literal_units(patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        if not is_glob(pattern):
            yield pattern if not pattern.startswith("_") else "_" + pattern


def _managers(patterns: tuple[str, ...], globs: tuple[str, ...]) -> Iterator[str]:
    for count in (1, 4):
        shape = (*text_shape("user@"), *(_DIGITS,) * count, *text_shape(".service"))
        yield from _escaped(shape, patterns, globs)


def _escaped(
    shape: tuple[Letters, ...], patterns: tuple[str, ...], globs: tuple[str, ...]
) -> Iterator[str]:
    """Yield names as they stand in a path: `_` before them where there has to be, or may be."""
    views = (*map(View, patterns), *map(View, globs), *(View(glob, before="_") for glob in globs))
    for name in words(shape, views).values():
        if not name.startswith("_"):
            yield name
        if globs or name.startswith("_"):
            yield "_" + name


def _pods(patterns: tuple[str, ...], globs: tuple[str, ...]) -> Iterator[str]:
    group = (Letters(_HEX),)
    dashed = group * 8 + (Letters("-"), *group * 4) * 3 + (Letters("-"), *group * 12)
    shapes = [dashed] if not patterns else [dashed, group * 32]
    forms = (("pod", ""), ("kubepods-pod", ".slice"))
    for shape in shapes:
        views = (*map(View, patterns), *_views(globs, forms))
        for uid in words(shape, views).values():
            yield from (before + uid + after for before, after in forms)


def _containers(ids: tuple[str, ...], globs: tuple[str, ...]) -> Iterator[str]:
    forms = [("", ""), ("docker-", ".scope")]
    if globs:
        forms += [(f"{name}-", end) for name in RUNTIMES for end in ("", ".scope")]
    views = (*(View(f"{prefix}*") for prefix in ids), *_views(globs, forms))
    for number in words(_ID, views).values():
        yield from (before + number + after for before, after in forms)


def _views(globs: tuple[str, ...], forms: Iterable[tuple[str, str]]) -> Iterator[View]:
    for before, after in forms:
        yield from (View(glob, before, after) for glob in globs)
