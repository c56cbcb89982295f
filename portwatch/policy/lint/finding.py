"""What a lint has to say of a policy that is otherwise right."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.policy.model import Constraint, Policy


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to look at: where, of which kind, why, and what to do about it.

    `id` is stable, for `--select` and `--ignore`; line and column count from 1. `urgency` above 0:
    something stops working that works now. `about`: the same in a few words, for who accepts it.
    """

    file: str
    line: int
    column: int
    id: str
    reason: str
    remedy: str
    urgency: int = 0
    about: str = ""

    @classmethod
    def of(
        cls,
        constraint: Constraint,
        id: str,
        reason: str,
        remedy: str,
        urgency: int = 0,
        about: str = "",
    ) -> Finding:
        """What is found about a constraint; the reason follows its name."""
        place = (constraint.file, constraint.line, constraint.column)
        return cls(*place, id, f"{constraint.name}: {reason}", remedy, urgency, about)

    @classmethod
    def of_default(
        cls, policy: Policy, id: str, reason: str, remedy: str, urgency: int = 0
    ) -> Finding:
        """What is found about the policy's `default`, which stands at its beginning."""
        return cls(policy.source, 1, 1, id, f"default: {reason}", remedy, urgency)

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


def where(constraint: Constraint) -> str:
    """Return a constraint's name and place, as one finding refers to another constraint."""
    return f"{constraint.name} ({constraint.file}:{constraint.line})"


def listed(words: list[str], limit: int = 3) -> str:
    """Return `a, b, c and 4 more`."""
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown
