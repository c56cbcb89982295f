"""What was seen of one port of one workload: how often, since when, by whom, on which addresses."""

from __future__ import annotations

from collections.abc import Iterable

from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.scopes import OTHER_SCOPE, scope_of

SHOWN = 3
"""Programs and users named in a comment; more are counted."""
_TEXT_LENGTH = 60


class LearnedUse:
    """A sum of binds; times are ISO 8601, empty where not known."""

    __slots__ = ("first", "last", "listening", "programs", "scopes", "times", "users")

    def __init__(self) -> None:
        self.times = 0
        self.first = ""
        self.last = ""
        self.listening = False
        self.scopes: set[str] = set()
        self.programs: dict[str, None] = {}
        self.users: dict[str, None] = {}

    def add(self, bind: SeenBind) -> None:
        """Count one kind of bind in."""
        self.times += bind.times
        self.scopes.add(_word(bind.address))
        self.listening = self.listening or bind.listening
        if bind.program:
            self.programs[bind.program] = None
        if bind.uid is not None:
            self.users[bind.user or str(bind.uid)] = None
        self._span(bind.first, bind.last)

    def join(self, other: LearnedUse) -> None:
        """Count all that is in another in."""
        self.times += other.times
        self.scopes |= other.scopes
        self.listening = self.listening or other.listening
        self.programs |= other.programs
        self.users |= other.users
        self._span(other.first, other.last)

    def _span(self, first: str, last: str) -> None:
        if first and (not self.first or first < self.first):
            self.first = first
        self.last = max(self.last, last)

    def __str__(self) -> str:
        parts = []
        if self.times:
            parts.append(f"{self.times:,} bind{'s' * (self.times != 1)}")
        if self.listening:
            parts.append("listens now" if not self.times else "and listens now")
        text = " ".join(parts)
        if self.programs:
            text += f" by {_named(self.programs)}"
        if self.users:
            text += f" as {_named(self.users)}"
        if self.first:
            text += f", {self.moments}"
        return text.strip()

    @property
    def moments(self) -> str:
        """When it was seen, first and last: UTC, to the second."""
        first, last = _moment(self.first), _moment(self.last)
        return first if first == last else f"{first} to {last}"


def joined(uses: Iterable[LearnedUse]) -> LearnedUse:
    """The sum of several."""
    total = LearnedUse()
    for use in uses:
        total.join(use)
    return total


def plain_text(text: str) -> str:
    """A text of anybody's as it may stand in a comment: one line, of what YAML allows."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"


def _word(address: Address) -> str:
    """The language's word for an address, or the address."""
    word = scope_of(address)
    return str(address) if word == OTHER_SCOPE else word


def _named(texts: Iterable[str]) -> str:
    names = sorted(map(plain_text, texts))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _moment(iso: str) -> str:
    return plain_text(iso[:19].replace("T", " "))
