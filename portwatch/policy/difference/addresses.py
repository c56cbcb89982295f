"""Classes of addresses in words: the policies' own words where they mean just that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from portwatch.policy.model import Constraint
from portwatch.policy.tables.endpoint_classes import address_classes
from portwatch.policy.words.addresses import (
    ADDRESS_WORDS,
    BITS,
    DUAL,
    V4_LENGTH,
    V4_PREFIX,
    V4_WILDCARD,
    Address,
    Network,
    networks_of,
)

DUAL_WORD = ":: (dual-stack)"
ELSEWHERE = "any other"

_USUAL = (
    V4_WILDCARD,
    *(Address.parse(text) for text in ("127.0.0.1", "::1", "10.0.0.1", "192.0.2.1")),
)


@dataclass(frozen=True, slots=True)
class AddressWords:
    """The addresses of all `words`, less those of `but`."""

    words: tuple[str, ...]
    but: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = ", ".join(self.words)
        return f"{text} but {', '.join(self.but)}" if self.but else text


@dataclass(frozen=True, slots=True)
class _Atom:
    """The addresses of a network less those of the networks within it that are atoms too."""

    network: Network
    address_class: int
    example: Address | None


class AddressSpace:
    """The classes of addresses of some constraints, (deny bits, allow bits) each."""

    def __init__(self, constraints: Iterable[Constraint]) -> None:
        constraints = list(constraints)
        found = address_classes(constraints)
        self.classes = found.classes
        self._dual = found.dual
        self._words = _words(constraints)
        self._atoms = _atoms(
            {
                Network(int.from_bytes(value, "big"), length): number
                for length, value, number in found.prefixes
            },
            found.default,
        )
        self.inhabited = {atom.address_class for atom in self._atoms if atom.example}
        self.inhabited.add(found.dual)

    def class_of(self, address: Address) -> int:
        """Return the class of an address."""
        if address.dual:
            return self._dual
        holding = (atom for atom in self._atoms if _holds(atom.network, address))
        return max(holding, key=lambda atom: atom.network.length).address_class

    def example(self, classes: frozenset[int]) -> Address:
        """Return an address of one of the classes, of which some is inhabited."""
        for address in _USUAL:
            if self.class_of(address) in classes:
                return address
        for atom in self._atoms:
            if atom.example and atom.address_class in classes:
                return atom.example
        return DUAL

    def words(self, classes: frozenset[int]) -> AddressWords:
        """Return words that mean exactly the addresses of the classes."""
        wanted = self._numbers(classes)
        everything = self._numbers(frozenset(range(len(self.classes))))
        if wanted == everything:
            return AddressWords(("any",))
        named = self._cover(wanted)
        if named is not None:
            return AddressWords(named)
        rest = self._cover(everything - wanted)
        if rest is not None:
            return AddressWords(("any",), rest)
        return AddressWords(tuple(self._spelled(wanted)))

    def _numbers(self, classes: frozenset[int]) -> frozenset[int]:
        """Return the atoms of the classes; -1 is the dual-stack wildcard."""
        found = {
            number
            for number, atom in enumerate(self._atoms)
            if atom.example and atom.address_class in classes
        }
        return frozenset(found | {-1} if self._dual in classes else found)

    def _cover(self, wanted: frozenset[int]) -> tuple[str, ...] | None:
        """Return the fewest words found that come to just these atoms, None where none do."""
        left = set(wanted)
        chosen: list[str] = []
        usable = {word: atoms for word, atoms in self._meaning.items() if atoms <= wanted}
        while left:
            word = max(usable, key=lambda word: len(usable[word] & left), default=None)
            if word is None or not usable[word] & left:
                return None
            chosen.append(word)
            left -= usable[word]
        return tuple(chosen)

    @cached_property
    def _meaning(self) -> dict[str, frozenset[int]]:
        """The atoms of each word that means whole atoms."""
        networks = {atom.network for atom in self._atoms}
        found: dict[str, frozenset[int]] = {}
        for word, meant in self._words.items():
            if all(network in networks for network in meant):
                atoms = {
                    number
                    for number, atom in enumerate(self._atoms)
                    if atom.example and any(_contains(network, atom.network) for network in meant)
                }
                found[word] = frozenset(atoms | {-1} if word == "wildcard" else atoms)
        found[DUAL_WORD] = frozenset({-1})
        return found

    def _spelled(self, wanted: frozenset[int]) -> Iterator[str]:
        for number in sorted(wanted):
            if number < 0:
                yield DUAL_WORD
                continue
            atom = self._atoms[number]
            text = ELSEWHERE if atom.network.length == 0 else _text(atom.network)
            inner = [
                _text(other.network)
                for other in self._atoms
                if other is not atom and _contains(atom.network, other.network)
            ]
            yield f"{text} less {' '.join(inner)}" if inner and atom.network.length else text


def _words(constraints: Iterable[Constraint]) -> dict[str, tuple[Network, ...]]:
    """Return the words of the constraints; one that both policies define apart is none."""
    found: dict[str, tuple[Network, ...]] = {word: networks_of(word) for word in ADDRESS_WORDS}
    apart = set()
    for constraint in constraints:
        for entry in constraint.addresses.entries if constraint.addresses else ():
            if found.setdefault(entry.word, entry.networks) != entry.networks:
                apart.add(entry.word)
            for network in entry.networks:
                found.setdefault(_text(network), (network,))
    return {word: networks for word, networks in found.items() if word not in apart}


def _atoms(classes: dict[Network, int], default: int) -> list[_Atom]:
    root = Network(0, 0)
    numbers = {root: default, **classes}
    inner: dict[Network, list[Network]] = {network: [] for network in numbers}
    above: list[Network] = []
    for network in sorted(numbers):
        while above and not _contains(above[-1], network):
            above.pop()
        if above:
            inner[above[-1]].append(network)
        above.append(network)
    return [
        _Atom(network, number, _first_free(network, inner[network]))
        for network, number in numbers.items()
    ]


def _first_free(network: Network, inner: Iterable[Network]) -> Address | None:
    """Return the first address of a network in none of those within it, which are in order."""
    free = network.value
    for other in inner:
        if other.value > free:
            break
        free = other.value + (1 << BITS - other.length)
    return Address(free) if free < network.value + (1 << BITS - network.length) else None


def _contains(outer: Network, inner: Network) -> bool:
    return inner.length >= outer.length and _holds(outer, Address(inner.value))


def _holds(network: Network, address: Address) -> bool:
    return (address.value ^ network.value) >> (BITS - network.length) == 0


def _text(network: Network) -> str:
    address = str(Address(network.value))
    length = network.length
    if length > V4_LENGTH - 1 and network.value >> 32 == V4_PREFIX >> 32:
        length -= V4_LENGTH
        return address if length == 32 else f"{address}/{length}"
    return address if length == BITS else f"{address}/{length}"
