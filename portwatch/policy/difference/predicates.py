"""The predicates over subjects that two policies are made of, and which can hold together.

A predicate is a selector with one pattern a key, or that the network is the host's. Sets of them
are bitmaps. What excludes or implies what is first read off the patterns, soundly if not fully;
`Predicates.example` then finds a subject, or that there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from portwatch.policy.difference.effort import QUICK
from portwatch.policy.difference.keys import KeyIndex
from portwatch.policy.difference.matching import Matching
from portwatch.policy.difference.paths import Patience
from portwatch.policy.difference.subjects import find_subject, typical
from portwatch.policy.difference.words import Undecided
from portwatch.policy.tables.compile import Accounts
from portwatch.policy.workload import SELECTOR_KEYS, Selector, Subject

HOST = 1
"""The predicate that the network is the host's."""

MAX_SPLIT = 64
"""Into how many predicates one selector with lists is split; one with more stays whole."""

MAX_EXAMPLES = 256
"""How many subjects are kept to be tried again, for each predicate."""

LOOKS_A_SEARCH = 20
"""How many of them a search costs before it looks at the first one."""

MAX_REFINED = 12
"""How many predicates that must not hold are looked at together."""


class Predicates:
    """Numbers selectors as they come: `bits_of` gives each a bitmap, of which any has to hold."""

    def __init__(self, accounts: Accounts, max_looks: int = QUICK.looks) -> None:
        """`max_looks`: how many cgroup paths are looked at, before the rest is left undecided."""
        self._accounts = accounts
        self.selectors: list[Selector | None] = [None]  # the first is HOST
        self._numbers: dict[Selector, int] = {}
        self._split: dict[Selector, int] = {}
        self._relations: dict[int, tuple[int, int]] = {}
        self._index: dict[str, KeyIndex] = {}
        self._examples: dict[int, list[tuple[int, Subject]]] = {}
        self._matching = Matching()
        self._patience = Patience(max_looks)
        self._answers: dict[tuple[int, int], Subject | None] = {}
        self._undecided: set[tuple[int, int]] = set()
        self._shared = {
            "user": _shared_names(accounts.users),
            "group": _shared_names(accounts.groups),
        }

    @property
    def all(self) -> int:
        """Every predicate."""
        return (1 << len(self.selectors)) - 1

    def bits_of(self, selectors: Iterable[Selector]) -> int:
        """Return the predicates of which one has to hold for one of the selectors to match."""
        bits = 0
        for selector in selectors:
            if selector not in self._split:
                self._split[selector] = sum({1 << self._number(one) for one in _split(selector)})
            bits |= self._split[selector]
        return bits

    def hold(self, subject: Subject) -> int:
        """Return all predicates that hold for a subject."""
        return self._matching.holding(subject) | (HOST if subject.host_network else 0)

    def compatible(self, number: int) -> int:
        """Return the predicates that may hold together with one."""
        return self._relation(number)[0]

    def implied(self, number: int) -> int:
        """Return predicates that hold wherever one does; not all of them."""
        return self._relation(number)[1]

    def example(self, holding: int, failing: int) -> Subject | None:
        """Return a subject for which all of `holding` and none of `failing` hold, None where
        there is none. Raises Undecided where that is too hard to say."""
        together, implied = self.all, 0
        for number in bit_numbers(holding):
            possible, follows = self._relation(number)
            together &= possible
            implied |= follows
        if holding & ~together or (implied | holding) & failing:
            return None
        failing &= together
        key = holding, failing
        if key in self._undecided:
            raise Undecided
        if key not in self._answers:
            try:
                self._answers[key] = self._found(holding, failing)
            except Undecided:
                self._undecided.add(key)
                raise
        return self._answers[key]

    def may_join(self, number: int, holding: int) -> bool:
        """Return whether a predicate can hold together with each one of some others."""
        bit = 1 << number
        try:
            return all(
                self.example(bit | 1 << other, 0) is not None for other in bit_numbers(holding)
            )
        except Undecided:
            return True

    def _found(self, holding: int, failing: int) -> Subject | None:
        if holding.bit_count() > 2:
            for number in bit_numbers(holding):
                if not self.may_join(number, holding & -1 << number):
                    return None
        network = not failing & HOST
        holding, failing = holding & ~HOST, failing & ~HOST
        first = holding & -holding
        known = self._examples.setdefault(first, [])
        self._remember(first, self._typical(holding))
        for bits, subject in known:
            if bits & holding == holding and not bits & failing:
                return replace(subject, host_network=network)
        refined = 0
        while True:
            found = self._exact(holding, refined)
            if found is None:
                return None
            violated = self._remember(first, found) & failing
            if not violated:
                return replace(found, host_network=network)
            refined |= violated & -violated
            if refined.bit_count() > MAX_REFINED:
                raise Undecided

    def _exact(self, holding: int, failing: int) -> Subject | None:
        self._patience.spend(LOOKS_A_SEARCH)
        return find_subject(
            [s for s in map(self.selectors.__getitem__, bit_numbers(holding)) if s],
            [s for s in map(self.selectors.__getitem__, bit_numbers(failing)) if s],
            self._accounts,
            self._patience,
        )

    def _remember(self, first: int, subject: Subject) -> int:
        known = self._examples[first]
        bits = self.hold(subject) & ~HOST
        if len(known) < MAX_EXAMPLES and all(bits != other for other, _ in known):
            known.append((bits, subject))
        return bits

    def _typical(self, holding: int) -> Subject:
        """Return a subject that most likely meets predicates that are about different things."""
        patterns: dict[str, Any] = {}
        for number in bit_numbers(holding):
            selector = self.selectors[number]
            for key in selector.given_keys if selector else ():
                patterns[key] = (*patterns.get(key, ()), *getattr(selector, key)[:1])
        return typical(Selector(**patterns), self._accounts)

    def _number(self, selector: Selector) -> int:
        if selector not in self._numbers:
            number = self._numbers[selector] = len(self.selectors)
            self.selectors.append(selector)
            self._matching.add(1 << number, selector)
            for key in SELECTOR_KEYS:
                if getattr(selector, key):
                    index = self._index.get(key)
                    if index is None:
                        shared = self._shared.get(key, frozenset())
                        index = self._index[key] = KeyIndex(key, shared)
                    index.add(1 << number, selector)
        return self._numbers[selector]

    def _relation(self, number: int) -> tuple[int, int]:
        if number not in self._relations:
            compatible, implied = self.all, self.all & ~HOST
            selector = self.selectors[number]
            if selector is None:
                implied = HOST
            else:
                for index in self._index.values():
                    excluded, follows = index.relation(selector)
                    compatible &= ~excluded
                    implied &= ~index.having | follows
            self._relations[number] = compatible, implied
        return self._relations[number]


def bit_numbers(bits: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, lowest first."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def _split(selector: Selector) -> Iterator[Selector]:
    """Yield selectors of one pattern a key that together mean the same."""
    keys = selector.given_keys
    choices = list(product(*(dict.fromkeys(getattr(selector, key)) for key in keys)))
    if len(choices) > MAX_SPLIT:
        yield selector
        return
    for choice in choices:
        only: dict[str, Any] = {key: (one,) for key, one in zip(keys, choice, strict=True)}
        yield Selector(**only)


def _shared_names(accounts: Mapping[str, int]) -> frozenset[str]:
    """Return the names of ids that have several."""
    uses = Counter(accounts.values())
    return frozenset(name for name, number in accounts.items() if uses[number] > 1)
