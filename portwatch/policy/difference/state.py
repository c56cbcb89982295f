"""How far one policy has been read, and where its readings stand after a rule has spoken."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from portwatch.policy.difference.rule import Rule
from portwatch.policy.tables.outcomes import ALLOWED, RECORDED, Outcome

LET_THROUGH = Outcome(ALLOWED, None, None)


class State(NamedTuple):
    """How far one policy has been read. `pending`: how the would-be reading ended."""

    stage: int
    at: int = 0
    pending: Outcome | None = None
    end: Outcome | None = None


BEGIN = State(0)


def told_by(state: State, rule: Rule, denies: bool, last: int) -> State:
    """Return where a reading stands after a rule that speaks."""
    told = rule.outcome if denies else LET_THROUGH
    if state.pending is None and not rule.enforced:
        return state._replace(pending=told)
    if not denies and state.pending:
        told = state.pending
    return _after(state, told, spoke=True, last=last)


def concluded(state: State, last: int) -> State:
    """Return where a reading stands after the last rule."""
    return _after(state, state.pending or LET_THROUGH, spoke=bool(state.pending), last=last)


def _after(state: State, told: Outcome, spoke: bool, last: int) -> State:
    """Return where a reading stands after a stage; a listener cannot be refused any more."""
    if told.verdict != ALLOWED:
        return state._replace(end=replace(told, verdict=RECORDED) if last else told)
    if state.stage == last or (state.stage == 1 and spoke):
        return state._replace(end=told)
    return State(state.stage + 1)
