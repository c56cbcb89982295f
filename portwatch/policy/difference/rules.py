"""Two policies as rules over shared predicates and endpoints, in one order where they agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from portwatch.policy.difference.endpoints import Speech
from portwatch.policy.difference.predicates import Predicates
from portwatch.policy.difference.rule import Rule
from portwatch.policy.model import DEFAULT_NAME, Policy
from portwatch.policy.tables.endpoint_classes import sum_bits
from portwatch.policy.tables.outcomes import DENIED, RECORDED, Outcome

Rules = tuple[list[Rule], list[Rule]]


def rules_of(policy: Policy, speeches: Sequence[Speech], predicates: Predicates) -> list[Rule]:
    """Return a policy's constraints as rules, `default` last; none of them has a rank yet."""
    rules = [
        Rule(
            rank=0,
            who=None if c.subject_for is None else predicates.bits_of(c.subject_for),
            but=predicates.bits_of(c.subject_except),
            host_only=c.network == "host",
            enforced=c.mode == "enforce",
            speech=speech,
            outcome=Outcome(DENIED if c.mode == "enforce" else RECORDED, c.name, c.errno),
        )
        for c, speech in zip(policy.constraints, speeches, strict=False)
    ]
    enforced = policy.mode == "enforce"
    outcome = Outcome(DENIED if enforced else RECORDED, DEFAULT_NAME, policy.errno)
    return [*rules, Rule(0, None, 0, False, enforced, speeches[-1], outcome)]


def ranked(sides: Rules) -> tuple[Rules, list[int]]:
    """Return the rules with the ranks that make most of them the same in both policies, and by
    rank the endpoints of which the two do not say the same there."""
    keys = [[_key(rule) for rule in rules] for rules in sides]
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    found: Rules = ([], [])
    changed: list[int] = []
    for tag, *spans in matcher.get_opcodes():
        old, new = sides[0][spans[0] : spans[1]], sides[1][spans[2] : spans[3]]
        if tag == "equal":
            for one, other in zip(old, new, strict=True):
                found[0].append(replace(one, rank=len(changed)))
                found[1].append(replace(other, rank=len(changed)))
                changed.append(_apart(one.speech, other.speech))
            continue
        for rules, into in ((old, found[0]), (new, found[1])):
            for rule in rules:
                into.append(replace(rule, rank=len(changed)))
                changed.append(rule.speech.anywhere)
    return found, changed


def _key(rule: Rule) -> Hashable:
    return rule.who, rule.but, rule.host_only, rule.enforced, rule.outcome


def _apart(one: Speech, other: Speech) -> int:
    mine, theirs = (*one.speaks, *one.denies), (*other.speaks, *other.denies)
    return sum_bits(a ^ b for a, b in zip(mine, theirs, strict=True))
