"""Is the guardrail up? One plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portwatch.agent.web.view import View
from portwatch.agent.web.words import count_of


@dataclass(frozen=True, slots=True)
class Guardrail:
    """`word` is how it stands, `sentence` what that means, or why."""

    state: Literal["enforcing", "recording", "down"]
    word: str
    sentence: str


def guardrail(view: View) -> Guardrail:
    """How it stands at this moment."""
    in_force = view.in_force
    if in_force is None:
        return _down("no policy is in force yet; every bind goes through")
    if view.missing_hooks:
        names = ", ".join(view.missing_hooks)
        verb = "is" if len(view.missing_hooks) == 1 else "are"
        return _down(f"{names} {verb} not attached; binds may go unjudged")
    if view.enforcing_policy:
        recording = sum(one.mode == "record" for one in in_force.policy.constraints)
        more = f" {count_of(recording, 'constraint')} of it only record." if recording else ""
        if recording == 1:
            more = " One constraint of it only records."
        return Guardrail(
            "enforcing", "Enforcing", f"A bind that breaks the policy is refused.{more}"
        )
    if not in_force.policy.constraints and in_force.policy.default == "allow":
        return _down("the policy in force has no constraints; every bind goes through")
    return Guardrail(
        "recording",
        "Recording",
        "Nothing is refused: a bind that breaks the policy goes through and is recorded.",
    )


def _down(because: str) -> Guardrail:
    return Guardrail("down", "NOT enforcing", f"because {because}.")
