"""Whether the guardrail is up: the head of the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portwatch.agent.board.judge import Judge
from portwatch.kernel.readings import Readings, Totals

VERDICTS = ("allowed", "denied", "recorded")


@dataclass(frozen=True)
class Guard:
    """What is in force. `policy`, `sha256` and `mode` are empty where no policy is, and then every
    bind goes through; `policy_since`: seconds since the epoch. `agent_pid` None: only pins.

    `binds` since they were loaded and `rates` a second of late, both by verdict; a rate is None
    after a single reading.
    """

    hooks: dict[str, bool]
    gone: tuple[str, ...]
    agent_pid: int | None
    policy: str
    sha256: str
    mode: str
    constraints: int
    generation: int
    policy_since: float
    binds: dict[str, int]
    rates: dict[str, float | None]
    events_lost: int

    @property
    def is_up(self) -> bool:
        """Whether there is a policy, and every hook that it needs."""
        return bool(self.sha256) and not self.gone

    def facts(self) -> dict[str, Any]:
        """For JSON, as `status` calls them."""
        policy: dict[str, Any] | None = None
        if self.sha256:
            policy = {
                "source": self.policy,
                "sha256": self.sha256,
                "mode": self.mode,
                "constraints": self.constraints,
                "generation": self.generation,
            }
        facts: dict[str, Any] = {
            "enforcing": self.is_up,
            "agent_pid": self.agent_pid,
            "policy": policy,
            "hooks": self.hooks,
            "binds": self.binds,
            "rates": {k: round(rate, 3) for k, rate in self.rates.items() if rate is not None},
            "events_lost": self.events_lost,
        }
        return {key: value for key, value in facts.items() if value is not None}


def binds_by_verdict(totals: Totals) -> dict[str, int]:
    """Sums over protocols and families."""
    sums = dict.fromkeys(VERDICTS, 0)
    for (verdict, _, _), count in totals.binds.items():
        sums[verdict] += count
    return sums


def read_guard(
    agent_pid: int | None,
    readings: Readings,
    judge: Judge | None,
    totals: Totals,
    rates: dict[str, float | None],
) -> Guard:
    """Look at the hooks; the rest is handed in."""
    hooks = readings.hooks()
    return Guard(
        hooks={hook.name: hook.attached for hook in hooks},
        gone=tuple(hook.name for hook in hooks if hook.required and not hook.attached),
        agent_pid=agent_pid,
        policy=judge.stored.origin if judge else "",
        sha256=judge.policy.sha256 if judge else "",
        mode=judge.policy.mode if judge else "",
        constraints=len(judge.policy.constraints) if judge else 0,
        generation=judge.generation if judge else 0,
        policy_since=judge.stored.published_at if judge else 0.0,
        binds=binds_by_verdict(totals),
        rates=rates,
        events_lost=totals.events_lost,
    )
