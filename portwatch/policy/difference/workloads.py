"""Sets of subjects in words: which selectors they match and which they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portwatch.policy.workload import Selector, Subject

EVERYONE = "everyone"
SHOWN = 4
"""How many selectors are written out that the subjects do not match."""


@dataclass(frozen=True, slots=True)
class SubjectSet:
    """Those that match all of `matching` and none of `failing`; `host_network` None: in any."""

    matching: tuple[Selector, ...] = ()
    failing: tuple[Selector, ...] = ()
    host_network: bool | None = None

    def holds(self, subject: Subject) -> bool:
        """Return whether `subject` is one of them."""
        return (
            self.host_network in (None, subject.host_network)
            and all(selector.matches(subject) for selector in self.matching)
            and not any(selector.matches(subject) for selector in self.failing)
        )

    def text(self, shown: int | None = SHOWN) -> str:
        """Return them in words, with so many of the selectors that do not match, None for all."""
        text = " and ".join(map(str, self.matching)) or EVERYONE
        if self.failing:
            but = [str(selector) for selector in self.failing[:shown]]
            left = len(self.failing) - len(but)
            text += f" but {_listed([*but, f'{left:,} more'] if left else but)}"
        if self.host_network is None:
            return text
        where = "the host's network" if self.host_network else "a network of its own"
        return f"{text}, in {where}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" or " if words[1:] else "") + words[-1]
