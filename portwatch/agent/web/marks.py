"""Listeners and violations on a port map, those that would cover one another together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portwatch.agent.web.scale import middle

NEAR = 0.8
"""Per cent of the strip within which two marks are one."""

MOST_LINES = 6


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing at a port: whether it is against the policy, what to say, where that leads."""

    port: int
    is_against: bool
    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Where signs are drawn as one; `at` in per cent."""

    at: float
    signs: tuple[Sign, ...]

    @property
    def is_against(self) -> bool:
        """Whether any of them is."""
        return any(sign.is_against for sign in self.signs)

    @property
    def text(self) -> str:
        """A line for each, as far as they are few."""
        lines = [sign.text for sign in self.signs[:MOST_LINES]]
        if self.signs[MOST_LINES:]:
            lines.append(f"… and {len(self.signs) - MOST_LINES} more")
        return "\n".join(lines)

    @property
    def link(self) -> str:
        """That of the first which is against the policy, else of the first."""
        return next((s.link for s in self.signs if s.is_against), self.signs[0].link)


def marks(signs: Iterable[Sign]) -> list[Mark]:
    """The marks from left to right."""
    found: list[Mark] = []
    near: list[Sign] = []
    for sign in sorted(signs, key=lambda one: one.port):
        if near and _at(sign.port) - _at(near[0].port) > NEAR:
            found.append(_mark(near))
            near = []
        near.append(sign)
    return [*found, _mark(near)] if near else found


def _mark(signs: Sequence[Sign]) -> Mark:
    where = next((sign for sign in signs if sign.is_against), signs[0])
    return Mark(_at(where.port), tuple(signs))


def _at(port: int) -> float:
    return middle(port, port)
