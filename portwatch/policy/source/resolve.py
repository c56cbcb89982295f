"""Words and names → ports, networks and selectors; definitions may refer to one another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

from portwatch.policy.catalog.use import CatalogUse
from portwatch.policy.source.merge import KINDS, Merged, Spot
from portwatch.policy.source.problems import quote
from portwatch.policy.source.selectors import read_selector
from portwatch.policy.words.addresses import (
    ADDRESS_WORDS,
    AddressEntry,
    AddressSet,
    Network,
    networks_of,
    parse_network,
)
from portwatch.policy.words.names import NAME, NAME_RULE
from portwatch.policy.words.ports import (
    DECLARED,
    NAMED_PROTOCOLS,
    PORT_WORDS,
    BadProtocol,
    BadWord,
    EndpointSet,
    PortEntry,
    PortRange,
    parse_declared,
    parse_port,
)
from portwatch.policy.workload import Selector

MAX_REFERENCES = 32
"""How deep definitions may refer to definitions."""

MAX_EXPANDED = 262_144
"""How many ranges, networks and selectors lists may come to, with what the names in them mean."""

MAX_PATTERNS = 16_384
"""How many different names, globs and ids all selectors may hold: each is a bit of bitmaps."""

_RESERVED = {"ports": (DECLARED, *PORT_WORDS), "addresses": ADDRESS_WORDS, "workloads": ()}
_OF_ADDRESSES = re.compile(r"[0-9a-fA-F.:/]+", re.ASCII)

T = TypeVar("T")


class Resolver:
    """Resolves the words of one policy; every problem goes to the policy's problems."""

    def __init__(self, merged: Merged, catalog: CatalogUse) -> None:
        self._merged = merged
        self._catalog = catalog
        self._done: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._open: list[tuple[str, str]] = []
        self._expanded = 0
        self._patterns: set[tuple[str, str | int]] = set()
        self._ranges: dict[str | int, tuple[PortRange, ...]] = {}

    def check_definitions(self) -> None:
        """Resolve every definition, used or not, so that none hides a problem."""
        for kind in KINDS:
            for name, spot in self._merged.definitions[kind].items():
                self._check_name(kind, name, spot)
                self._definition(kind, name)

    def ports(self, spot: Spot | None) -> EndpointSet:
        """Return what a list of port words means."""
        if spot is None:
            return EndpointSet()
        entries = []
        for item in spot.items():
            ranges = self._port_word(item)
            if ranges and self._fits(item, ranges):
                entries.append(PortEntry.of(str(item.value), ranges))
        return EndpointSet(tuple(entries))

    def addresses(self, spot: Spot | None) -> AddressSet | None:
        """Return what a list of address words means, None where there is no list."""
        if spot is None:
            return None
        entries = []
        for item in spot.items():
            networks = self._address_word(item)
            if self._fits(item, networks):
                entries.append(AddressEntry(item.value, networks))
        return AddressSet(tuple(entries))

    def workloads(self, spot: Spot) -> tuple[Selector, ...]:
        """Return the selectors that a `for`, an `except` or a definition means (any of)."""
        items = spot.items() if isinstance(spot.value, list) else [spot]
        selectors = self._each(items, self._selectors)
        return tuple({(selector, selector.origin): selector for selector in selectors}.values())

    def _selectors(self, spot: Spot) -> tuple[Selector, ...]:
        if isinstance(spot.value, str):
            return self._reference("workloads", spot, spot.value, ())
        selector = read_selector(spot, self._merged)
        if selector is None:
            return ()
        before = len(self._patterns)
        for key in selector.given_keys:
            self._patterns.update((key, pattern) for pattern in getattr(selector, key))
        if before <= MAX_PATTERNS < len(self._patterns):
            self._merged.report(spot, f"more than {MAX_PATTERNS:,} different names in selectors")
        return (selector,)

    def _port_word(self, spot: Spot) -> tuple[PortRange, ...]:
        known = self._ranges.get(spot.value)
        if known is not None:
            return known
        word = str(spot.value)
        try:
            declared = parse_declared(word)
            parsed = None if declared else parse_port(spot.value)
        except BadProtocol as err:
            meant = self._merged.problems.did_you_mean(err.protocol, NAMED_PROTOCOLS)
            message = meant or f"; it is {', '.join(NAMED_PROTOCOLS[:-1])} or {NAMED_PROTOCOLS[-1]}"
            self._merged.report(spot, f"{quote(word)}: unknown protocol{message}")
            return ()
        except BadWord as err:
            self._merged.report(spot, f"{quote(word)}: {err}")
            return ()
        if declared:
            found: tuple[PortRange, ...] = declared
        elif parsed is not None:
            found = (parsed,)
        elif word.startswith("catalog:"):
            found = self._set_of_catalog(spot, word.removeprefix("catalog:"))
        else:
            base = word.partition("/")[0]
            if "/" in word and base in self._merged.definitions["ports"]:
                message = f"a defined name takes no protocol; write it in {quote(base)[1:-1]}"
                self._merged.report(spot, f"{quote(word)}: {message}")
                return ()
            return self._reference("ports", spot, word, ("catalog:", DECLARED, *PORT_WORDS))
        if found:
            self._ranges[spot.value] = found
        return found

    def _set_of_catalog(self, spot: Spot, name: str) -> tuple[PortRange, ...]:
        known = self._catalog.known(self._merged.problems)
        if known is None:
            return ()
        if name not in known:
            meant = self._merged.problems.did_you_mean(name, known)
            meant = meant.replace("mean `", "mean `catalog:")
            self._merged.report(spot, f"the catalog has no {quote(name)}{meant}")
            return ()
        return self._catalog.use(name).ranges

    def _address_word(self, spot: Spot) -> tuple[Network, ...]:
        word = spot.value
        if word in ADDRESS_WORDS:
            return networks_of(word)
        if word in self._merged.definitions["addresses"] or not _like_address(word):
            return self._reference("addresses", spot, word, ADDRESS_WORDS)
        try:
            return (parse_network(word),)
        except BadWord as err:
            self._merged.report(spot, f"{quote(word)}: {err}")
            return ()

    def _reference(
        self, kind: str, spot: Spot, name: str, words: tuple[str, ...]
    ) -> tuple[Any, ...]:
        """Return what the defined `name` means; a problem at `spot` where it is not defined."""
        if name in self._merged.definitions[kind]:
            if (kind, name) in self._open:
                circle = [*self._open[self._open.index((kind, name)) :], (kind, name)]
                names = " → ".join(quote(member)[1:-1] for _, member in circle)
                message = f"{quote(name)} is defined by itself: {names}"
                self._merged.report(spot, message)
                return ()
            if len(self._open) >= MAX_REFERENCES:
                self._merged.report(spot, f"definitions refer more than {MAX_REFERENCES} deep")
                return ()
            return self._definition(kind, name)
        if name in self._merged.broken[kind] or self._merged.unreadable:
            return ()
        what = {"ports": "port word", "addresses": "address word", "workloads": "workload"}[kind]
        known = chain(self._merged.definitions[kind], words)
        meant = self._merged.problems.did_you_mean(name, known)
        self._merged.report(spot, f"unknown {what} {quote(name)}{meant}")
        return ()

    def _definition(self, kind: str, name: str) -> tuple[Any, ...]:
        key = (kind, name)
        if key in self._done:
            return self._done[key]
        self._open.append(key)
        spot = self._merged.definitions[kind][name]
        found: tuple[Any, ...]
        if kind == "ports":
            found = _unique(self._each(spot.items(), self._port_word))
        elif kind == "addresses":
            found = _unique(self._each(spot.items(), self._address_word))
        else:
            found = tuple(selector.named(name) for selector in self.workloads(spot))
        self._open.pop()
        self._done[key] = found
        return found

    def _each(self, spots: list[Spot], resolve: Callable[[Spot], tuple[T, ...]]) -> Iterator[T]:
        """Yield what the items of a list mean."""
        for spot in spots:
            found = resolve(spot)
            if not self._fits(spot, found):
                return
            yield from found

    def _fits(self, spot: Spot, found: tuple[Any, ...]) -> bool:
        """Count what a word means; False, with one problem recorded, once that is too much."""
        before = self._expanded
        self._expanded += len(found)
        if before <= MAX_EXPANDED < self._expanded:
            what = f"{MAX_EXPANDED:,} ranges, networks and selectors"
            self._merged.report(spot, f"all lists together come to more than {what}")
        return self._expanded <= MAX_EXPANDED

    def _check_name(self, kind: str, name: str, spot: Spot) -> None:
        if not NAME.fullmatch(name):
            self._merged.report(spot, f"{quote(name)} is no name: {NAME_RULE}", key=True)
        elif name in _RESERVED[kind]:
            message = f"{quote(name)} is a word of the language and cannot be defined"
            self._merged.report(spot, message, key=True)
        elif kind == "ports" and name.replace("-", "").isdigit():
            self._merged.report(spot, f"{quote(name)} would be read as a port", key=True)
        elif kind == "addresses" and _like_address(name):
            self._merged.report(spot, f"{quote(name)} would be read as an address", key=True)


def _like_address(word: str) -> bool:
    """Return whether a word can only be meant as an address, not as a name."""
    if "%" in word:
        return True
    return _OF_ADDRESSES.fullmatch(word) is not None and (word.isdigit() or not word.isalnum())


def _unique(items: Iterator[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))
