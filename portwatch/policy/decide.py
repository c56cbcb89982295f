"""What a policy says of one bind, and why: the reference that the tables have to agree with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from portwatch.policy.model import DEFAULT_NAME, Policy
from portwatch.policy.reading import EPHEMERAL, Endpoint, Judgement, Reading, read
from portwatch.policy.sentences import default_sentence, sentence
from portwatch.policy.workload import Subject

__all__ = ["Decision", "Endpoint", "Step", "Verdict", "decide", "explain", "workload_name"]

Verdict = Literal["allowed", "denied", "recorded"]


@dataclass(frozen=True)
class Decision:
    """The verdict, and the constraint that gave it.

    `allowed`: the constraint that allowed it in the real reading, None where none did;
    `recorded`: the one that would have denied. `errno` and `reason` come with a violation;
    of a recorded one, `errno` is what it would have returned.
    """

    verdict: Verdict
    constraint: str | None
    errno: str | None
    reason: str | None


@dataclass(frozen=True)
class Step:
    """One constraint on the way: whether it `applies`, its `effect`, and one sentence `why`."""

    name: str
    applies: bool
    effect: Literal["deny", "allow", "continue", "skip"]
    why: str


def decide(policy: Policy, subject: Subject, endpoint: Endpoint) -> Decision:
    """Return the verdict on one bind, or on one that listens on a port that the kernel picked."""
    if endpoint.listening:
        stage = _listener_stage(policy, subject, endpoint)
        return _too_late_to_refuse(decide(policy, subject, stage))
    return _conclude(policy, endpoint, read(policy, subject, endpoint))


def explain(policy: Policy, subject: Subject, endpoint: Endpoint) -> tuple[Decision, list[Step]]:
    """Return decide()'s verdict and each constraint looked at until both readings had ended."""
    if endpoint.listening:
        stage = _listener_stage(policy, subject, endpoint)
        decision, steps = explain(policy, subject, stage)
        return _too_late_to_refuse(decision), steps
    reading = read(policy, subject, endpoint)
    steps = []
    ended = False
    for judgement in reading.judgements:
        why = sentence(judgement, subject, endpoint, would_be_ended=ended)
        applies = judgement.effect != "skip"
        steps.append(Step(judgement.constraint.name, applies, judgement.effect, why))
        ended = ended or judgement is reading.would_be
    if reading.real is None:
        why = default_sentence(policy, endpoint, would_be_ended=ended)
        speaks = not endpoint.lists_only
        effect = policy.default if speaks else "allow"
        steps.append(Step(DEFAULT_NAME, speaks, effect, why))
    return _conclude(policy, endpoint, reading), steps


def _listener_stage(policy: Policy, subject: Subject, endpoint: Endpoint) -> Endpoint:
    """As what a listener is decided: by the lists that name the port that the kernel picked, by
    those that name `ephemeral`, or, where neither speaks, as if its port had been asked for."""
    picked = replace(endpoint, listening=False)
    ephemeral = replace(picked, port=EPHEMERAL, picked=False)
    if decide(policy, subject, picked).verdict != "allowed":
        return picked
    if decide(policy, subject, ephemeral).verdict != "allowed":
        return ephemeral
    listed = read(policy, subject, ephemeral).would_be is not None
    return ephemeral if listed else replace(picked, picked=False)


def _too_late_to_refuse(decision: Decision) -> Decision:
    return replace(decision, verdict="recorded") if decision.verdict == "denied" else decision


def workload_name(policy: Policy, subject: Subject) -> str | None:
    """Return the first defined workload that `subject` is, in order of definition."""
    for workload in policy.workloads:
        if any(selector.matches(subject) for selector in workload.selectors):
            return workload.name
    return None


def _conclude(policy: Policy, endpoint: Endpoint, reading: Reading) -> Decision:
    default_denies = policy.default == "deny" and not endpoint.lists_only
    real, would_be = reading.real, reading.would_be
    if real is not None and real.effect == "deny":
        return _violation("denied", real)
    if real is None and default_denies and policy.mode == "enforce":
        return Decision("denied", DEFAULT_NAME, policy.errno, policy.reason)
    if would_be is not None and would_be.effect == "deny":
        return _violation("recorded", would_be)
    if would_be is None and default_denies:
        return Decision("recorded", DEFAULT_NAME, policy.errno, policy.reason)
    return Decision("allowed", real.constraint.name if real else None, None, None)


def _violation(verdict: Verdict, judgement: Judgement) -> Decision:
    constraint = judgement.constraint
    return Decision(verdict, constraint.name, constraint.errno, constraint.reason)
