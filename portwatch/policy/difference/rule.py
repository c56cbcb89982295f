"""A rule: a constraint, or `default`, as bits of predicates and of endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from portwatch.policy.difference.endpoints import Speech
from portwatch.policy.difference.predicates import HOST
from portwatch.policy.tables.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint, or `default`. `who` None: everyone; `who` and `but`: bits of predicates.

    `rank`: its place among those of both policies; where both have it, it is one place.
    """

    rank: int
    who: int | None
    but: int
    host_only: bool
    enforced: bool
    speech: Speech
    outcome: Outcome

    @property
    def is_plain(self) -> bool:
        """Whether it is enforced, and applies just where one of its predicates holds."""
        return self.enforced and self.who is not None and not self.but and not self.host_only


Rules = tuple[Sequence[Rule], Sequence[Rule]]
"""Those of the old policy and of the new one."""


class Who(NamedTuple):
    """The subjects for which all of `holding` and none of `failing` hold; `excluded` and
    `implied` follow from `holding`."""

    holding: int = 0
    failing: int = 0
    excluded: int = 0
    implied: int = 0


def applies(rule: Rule, who: Who) -> bool | int:
    """Return whether a rule applies to subjects, or a predicate's number that it depends on."""
    failing = who.failing | who.excluded
    if rule.but & who.implied:
        return False
    open_ = 0
    if rule.who is not None and not rule.who & who.implied:
        open_ = rule.who & ~failing
        if not open_:
            return False
    if rule.host_only and not who.implied & HOST:
        if failing & HOST:
            return False
        return HOST.bit_length() - 1  # first: it settles all rules of the host's network
    open_ = open_ or rule.but & ~failing
    return (open_ & -open_).bit_length() - 1 if open_ else True
