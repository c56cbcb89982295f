"""Port words and sets of them: `8080`, `8000-8099/tcp`, `all`, `ephemeral`, `declared`.

`ephemeral`, a bind to port 0, is the range 0-0: the port that was asked for. `declared` are the
ports that whoever binds has said it would: what they are differs from pod to pod.
Imports nothing of portwatch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

PROTOCOLS = ("tcp", "udp", "udplite", "sctp", "other")
"""Row order of the port tables. `other`: a protocol that only words without one match."""

NAMED_PROTOCOLS = PROTOCOLS[:-1]
LAST_PORT = 65535
PORT_WORDS = {"all": (1, LAST_PORT), "privileged": (1, 1023), "ephemeral": (0, 0)}
DECLARED = "declared"
DECLARED_PROTOCOLS = ("tcp", "udp", "sctp")
"""Those that a pod can declare ports of."""

_NUMBERS = re.compile(r"([0-9]+)(?:-([0-9]+))?", re.ASCII)


def judged_as(label: str) -> str:
    """Return the protocol as which policies see what is called `label` in events and counts."""
    return "tcp" if label == "mptcp" else label


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports `first` to `last`, both included; `protocol` None means any. `declared`: those of them
    only that the pod which binds declares."""

    first: int
    last: int
    protocol: str | None = None
    declared: bool = False

    def contains(self, protocol: str, port: int) -> bool:
        """Return whether a bind of `protocol` to `port` is meant."""
        return self.first <= port <= self.last and self.protocol in (None, protocol)


@dataclass(frozen=True, slots=True)
class PortEntry:
    """One word of a list, and the ranges that it stands for; in `declared` those that hold only
    what the pod declares."""

    word: str
    ranges: tuple[PortRange, ...]
    declared: tuple[PortRange, ...] = ()

    @classmethod
    def of(cls, word: str, found: Iterable[PortRange]) -> PortEntry:
        """Return the entry of a word that stands for these, of both kinds."""
        both = tuple(found)
        plain = tuple(item for item in both if not item.declared)
        return cls(word, plain, tuple(item for item in both if item.declared))


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """A `deny` or `allow` list; addresses narrow it in the constraint."""

    entries: tuple[PortEntry, ...] = ()

    def find(self, protocol: str, port: int, is_declared: bool = False) -> str | None:
        """Return the first word that means this port, which the pod declares or not; None where
        none does."""
        for entry in self.entries:
            for item in (*entry.ranges, *entry.declared) if is_declared else entry.ranges:
                if item.contains(protocol, port):
                    return entry.word
        return None

    @property
    def ranges(self) -> Sequence[PortRange]:
        """All ranges of all words, in order, but those of `declared`."""
        return [item for entry in self.entries for item in entry.ranges]

    @property
    def declared(self) -> Sequence[PortRange]:
        """Those of `declared`."""
        return [item for entry in self.entries for item in entry.declared]

    def as_declared(self, is_declared: bool) -> EndpointSet:
        """Return the list as it is for every port that is declared, or for every one that is not:
        without the word."""
        if not self.declared:
            return self
        entries = (
            PortEntry(one.word, (*one.ranges, *(replace(r, declared=False) for r in one.declared)))
            if is_declared
            else PortEntry(one.word, one.ranges)
            for one in self.entries
        )
        return EndpointSet(tuple(one for one in entries if one.ranges))


NO_ENDPOINTS = EndpointSet()


class BadWord(ValueError):
    """A word of the language that is malformed; the message says how."""


def parse_port(word: str | int) -> PortRange | None:
    """Read a port word; None where it is neither number nor reserved word. Raises BadWord."""
    text = str(word)
    body, slash, protocol = text.partition("/")
    numbers = _NUMBERS.fullmatch(body)
    if isinstance(word, int) and word < 0:
        raise BadWord(f"port {text} is not between 1 and {LAST_PORT}")
    if numbers is None and body not in PORT_WORDS:
        return None
    if slash and protocol not in NAMED_PROTOCOLS:
        raise BadProtocol(protocol)
    if numbers is None:
        first, last = PORT_WORDS[body]
    else:
        first = _port(numbers[1])
        last = first if numbers[2] is None else _port(numbers[2])
    if last < first:
        raise BadWord(f"the range runs backwards; did you mean `{last}-{first}{slash}{protocol}`?")
    return PortRange(first, last, protocol or None)


def parse_declared(word: str) -> tuple[PortRange, ...]:
    """Read `declared`, `declared/tcp`; empty where it is another word. Raises BadWord."""
    body, slash, protocol = word.partition("/")
    if body != DECLARED:
        return ()
    if slash and protocol not in NAMED_PROTOCOLS:
        raise BadProtocol(protocol)
    if slash and protocol not in DECLARED_PROTOCOLS:
        *others, last = DECLARED_PROTOCOLS
        raise BadWord(f"a pod declares ports of {', '.join(others)} or {last}")
    wanted = (protocol,) if slash else DECLARED_PROTOCOLS
    return tuple(PortRange(1, LAST_PORT, one, declared=True) for one in wanted)


class BadProtocol(BadWord):
    """The part after the slash is not a protocol that a port word can name."""

    def __init__(self, protocol: str) -> None:
        super().__init__(f"unknown protocol `{protocol}`")
        self.protocol = protocol


def _port(digits: str) -> int:
    if digits.strip("0") == "":
        raise BadWord("port 0 asks the kernel to pick one: use `ephemeral`")
    if digits[0] == "0":
        raise BadWord(f"write port `{digits[:20].lstrip('0')}` without leading zeros")
    if len(digits) > 5 or int(digits) > LAST_PORT:
        shown = digits if len(digits) <= 12 else digits[:9] + "…"
        raise BadWord(f"port {shown} is not between 1 and {LAST_PORT}")
    return int(digits)
