"""A subject that some selectors match and others do not, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from portwatch.policy.difference.paths import VERIFIED, Patience, paths
from portwatch.policy.difference.pods import EXAMPLE_UID, pods, typical_pod
from portwatch.policy.difference.words import ANY_NAME, Undecided, View, example_of, words
from portwatch.policy.tables.compile import Accounts
from portwatch.policy.tables.subject_classes import SubjectClasses
from portwatch.policy.words.globs import components, match_name
from portwatch.policy.words.images import image_names
from portwatch.policy.workload import MAX_ID, POD_KEYS, KnownContainer, Selector, Subject

MAX_IMAGE_SETS = 256
MAX_CONTAINERS = 16_384
CONTAINERS_A_LOOK = 16
"""Tried at a path, so many cost as much as a look at one more."""

_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Account:
    """An id, and the names that it goes by."""

    number: int
    names: tuple[str, ...] = ()


def find_subject(
    holding: Sequence[Selector],
    failing: Sequence[Selector],
    accounts: Accounts,
    patience: Patience,
) -> Subject | None:
    """Return a subject that all of the one match and none of the other, None where there is none.

    Who it may be: any cgroup and container; any id with any one name, or with several where
    `accounts` gives it several. Raises Undecided where there is too much to look through.
    """
    selectors = (*holding, *failing)
    wanted = (1 << len(holding)) - 1
    pairs = product(
        _of_accounts(selectors, "user", accounts.users).items(),
        _of_accounts(selectors, "group", accounts.groups).items(),
    )
    kinds = [(by_user & by_group, user, group) for (by_user, user), (by_group, group) in pairs]
    tried: list[int] = []
    for bits, user, group in sorted(kinds, key=lambda kind: kind[0].bit_count()):
        if bits & wanted != wanted or any(not less & ~bits for less in tried):
            continue
        tried.append(bits)
        left = [s for number, s in enumerate(failing, len(holding)) if bits >> number & 1]
        place = _place(holding, left, patience)
        if place:
            return _with_accounts(place, user, group)
    return None


def typical(selector: Selector, accounts: Accounts) -> Subject:
    """Return a subject that a selector most likely means, as one of which all patterns match."""
    path = list(_filled(selector.cgroup[:1]))
    path += map(example_of, selector.slice or (("system.slice",) if selector.unit else ()))
    path += map(example_of, selector.unit[:1])
    container = None
    if any(getattr(selector, key) for key in POD_KEYS):
        uid = example_of(selector.pod[0]) if selector.pod else EXAMPLE_UID
        path.append(f"kubepods-pod{uid.replace('-', '_')}.slice")
    if selector.is_contained:
        name = example_of(selector.container[0]) if selector.container else None
        images = tuple(map(example_of, selector.image))
        container = KnownContainer(name, images, is_verified=True, pod=typical_pod(selector))
    who = Subject("/" + "/".join(path), container=container)
    return _with_accounts(
        who, _account(selector.user, accounts.users), _account(selector.group, accounts.groups)
    )


def _filled(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        yield from (example_of(part) for part in components(pattern) if part != "**")


def _account(patterns: tuple[str | int, ...], known: Mapping[str, int]) -> Account:
    numbers = [word for word in patterns if isinstance(word, int)]
    names = [example_of(word) for word in patterns if isinstance(word, str)][:1]
    number = numbers[0] if numbers else known.get(names[0] if names else "", _fresh_id(()))
    return Account(number, tuple(names))


def _with_accounts(who: Subject, user: Account, group: Account) -> Subject:
    return replace(
        who,
        uid=user.number,
        user=user.names[0] if user.names else None,
        user_aliases=user.names[1:],
        gid=group.number,
        group=group.names[0] if group.names else None,
        group_aliases=group.names[1:],
    )


def _place(
    holding: Sequence[Selector], failing: Sequence[Selector], patience: Patience
) -> Subject | None:
    """Return a cgroup and container for the keys of the selectors that are about those."""
    selectors = (*holding, *failing)
    classes = SubjectClasses(selectors, {}, {})
    wanted = [classes.bits_of(selector).cgroup for selector in holding]
    unwanted = [classes.bits_of(selector).cgroup for selector in failing]
    forever = [
        classes.bits_of(selector).cgroup for selector in failing if not selector.is_contained
    ]

    def is_dead(path: str) -> bool:
        return any(_all_meet(masks, classes.cgroup_bits(path, None)) for masks in forever)

    containers = _containers(selectors)
    for path in paths(selectors, is_dead, patience):
        patience.spend(len(containers) // CONTAINERS_A_LOOK)
        for container in containers:
            bits = classes.cgroup_bits(path, container)
            if all(_all_meet(masks, bits) for masks in wanted) and not any(
                _all_meet(masks, bits) for masks in unwanted
            ):
                return Subject(path, container=container)
    return None


def _all_meet(masks: tuple[int, ...], bits: int) -> bool:
    return all(mask & bits for mask in masks)


def _containers(selectors: Sequence[Selector]) -> list[KnownContainer | None]:
    if not any(selector.is_contained for selector in selectors):
        return [None]
    names = _patterns(selectors, "container")
    called = [None, *words(ANY_NAME, tuple(map(View, names))).values()] if names else [None]
    images = list(_image_sets(_patterns(selectors, "image")))
    known = list(pods(selectors))
    if len(called) * len(images) * len(known) > MAX_CONTAINERS:
        raise Undecided
    return [None, VERIFIED] + [
        KnownContainer(name, image, is_verified, pod)
        for is_verified, name, image, pod in product((True, False), called, images, known)
    ]


def _image_sets(patterns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield sets of references: one image may have several."""
    yield ()
    if not patterns:
        return
    single: dict[int, str] = {}
    for word in words(ANY_NAME, tuple(map(View, patterns))).values():
        for reference in (word, f"{word}@{_DIGEST}", f"{word}:x", f"{word}:latest"):
            names = image_names(reference)
            single.setdefault(_bits(patterns, lambda glob, n=names: _any_match(glob, n)), reference)
    sets: dict[int, tuple[str, ...]] = {bits: (reference,) for bits, reference in single.items()}
    queue = list(sets)
    for bits in queue:
        for more, reference in single.items():
            if bits | more not in sets and len(sets) < MAX_IMAGE_SETS:
                sets[bits | more] = (*sets[bits], reference)
                queue.append(bits | more)
    yield from sets.values()


def _of_accounts(
    selectors: Sequence[Selector], key: str, known: Mapping[str, int]
) -> dict[int, Account]:
    """Return accounts by the selectors that they let match, as bits."""
    found: dict[int, Account] = {}
    lists: list[tuple[str | int, ...]] = [getattr(selector, key) for selector in selectors]
    for account in _accounts([word for some in lists for word in some], known):
        found.setdefault(
            _bits(lists, lambda some, who=account: not some or _any_account(some, who)), account
        )
    return found


def _accounts(patterns: Sequence[str | int], known: Mapping[str, int]) -> Iterator[Account]:
    numbers = [word for word in patterns if isinstance(word, int)]
    globs = tuple(View(word) for word in dict.fromkeys(patterns) if isinstance(word, str))
    fresh = _fresh_id(numbers)
    names = list(words(ANY_NAME, globs).values()) if globs else []
    yield Account(fresh)
    for name in names:
        number = known.get(name, fresh)
        yield Account(fresh if number in numbers else number, (name,))
    for number in dict.fromkeys(numbers):
        yield Account(number)
        yield from (Account(number, (name,)) for name in names)
    by_number: dict[int, list[str]] = {}
    for name, number in known.items() if globs else ():
        by_number.setdefault(number, []).append(name)
    yield from (Account(number, tuple(all_)) for number, all_ in by_number.items() if all_[1:])


def _fresh_id(taken: Iterable[int]) -> int:
    used = set(taken)
    return next(number for number in range(60_000, MAX_ID) if number not in used)


def _patterns(selectors: Iterable[Selector], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pattern for s in selectors for pattern in getattr(s, key)))


def _bits(items: Iterable[object], holds: Callable[..., bool]) -> int:
    return sum(1 << number for number, item in enumerate(items) if holds(item))


def _any_match(glob: str, names: Iterable[str]) -> bool:
    return any(match_name(glob, name) for name in names)


def _any_account(patterns: Iterable[str | int], account: Account) -> bool:
    return any(
        word == account.number if isinstance(word, int) else _any_match(word, account.names)
        for word in patterns
    )
