"""Two policies read side by side, for many endpoints and subjects at once.

What is read is split only where it decides: endpoints where a constraint speaks of some of them,
subjects where it is not known whether it applies to them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import eq
from types import MappingProxyType
from typing import NamedTuple

from portwatch.policy.difference.endpoints import STAGES
from portwatch.policy.difference.predicates import Predicates, bit_numbers
from portwatch.policy.difference.rule import Rule, Rules, Who, applies
from portwatch.policy.difference.state import BEGIN, State, concluded, told_by
from portwatch.policy.difference.words import Undecided
from portwatch.policy.tables.outcomes import Outcome

NOTHING_SEEN: Mapping[int, int] = MappingProxyType({})

Pair = tuple[Outcome, Outcome]

MAX_REMEMBERED = 1024
"""Of how many sets of subjects the rules that may apply to them are kept."""


Alike = Callable[[Outcome, Outcome], bool]
"""Whether two outcomes count as the same."""


class Leaf(NamedTuple):
    """What these subjects get at these endpoints from either policy; None: the same. Where
    `settled`, only those for whom one of these predicates holds."""

    endpoints: int
    who: Who
    outcomes: Pair | None
    settled: int = 0


class _Node(NamedTuple):
    """Endpoints and subjects, the rules that speak of those, and how far both were read."""

    endpoints: int
    who: Who
    rules: Rules
    states: tuple[State, State]


class Readings:
    """Both policies as rules. `changed`: by rank, the endpoints of which the two do not say the
    same there. Past `limit` steps all further reading raises Undecided."""

    def __init__(
        self,
        rules: Rules,
        changed: Sequence[int],
        predicates: Predicates,
    ) -> None:
        self._rules = rules
        self._possible: dict[int, Rules] = {}
        self._changed = changed
        self._predicates = predicates
        self.steps = 0
        self.limit = sys.maxsize
        self._changed_from = [0] * (len(changed) + 1)
        for rank in reversed(range(len(changed))):
            self._changed_from[rank] = self._changed_from[rank + 1] | changed[rank]

    def who(self, holding: int, failing: int) -> Who:
        """Return the subjects for which all of one and none of the other hold."""
        who = Who(failing=failing)
        for number in bit_numbers(holding):
            who = self._with(who, number)
        return who

    def leaves(
        self,
        endpoints: int,
        who: Who,
        listening: bool,
        seen: Mapping[int, int] = NOTHING_SEEN,
        alike: Alike = eq,
    ) -> Iterator[Leaf]:
        """Yield what each of the endpoints gets for each of the subjects, who may turn out to be
        nobody. `listening`: whether the endpoints are listeners' or binds'.

        Left out are those that were `seen` before: bit of a predicate → endpoints.
        """
        if self.steps >= self.limit:
            raise Undecided
        failing = who.failing
        for predicate, where in seen.items():
            if not endpoints & ~where:
                failing |= predicate
        who = who._replace(failing=failing)
        if not who.implied & who.failing:
            node = _Node(endpoints, who, self._rules_of(endpoints, who), (BEGIN, BEGIN))
            yield from self._leaves_of(node, STAGES - 1 if listening else 0, seen, alike)

    def outcomes(self, endpoint: int, held: int, rules: Rules, listening: bool) -> Pair | None:
        """Return what one endpoint gets for a subject for whom just these predicates hold, of the
        rules that speak of it; None: the same."""
        who = Who(held, ~held, ~held, held)
        node = _Node(endpoint, who, rules, (BEGIN, BEGIN))
        leaves = self._leaves_of(node, STAGES - 1 if listening else 0, NOTHING_SEEN, eq)
        return next(leaf.outcomes for leaf in leaves if not leaf.settled)

    def _leaves_of(
        self, begin: _Node, last: int, seen: Mapping[int, int], alike: Alike
    ) -> Iterator[Leaf]:
        todo = [begin]
        while todo:
            node = todo.pop()
            if not node.endpoints:
                continue
            self.steps += 1
            if self.steps > self.limit:
                raise Undecided
            skipped = self._skipped(node, last, alike)
            settled = skipped.who.failing & ~node.who.failing
            if settled:
                yield Leaf(node.endpoints, node.who, None, settled)
            endpoints, who, rules, _ = skipped
            node = _Node(endpoints, who, rules, (_sought(0, skipped), _sought(1, skipped)))
            old, new = node.states
            if old.end and new.end:
                same = alike(old.end, new.end)
                yield Leaf(node.endpoints, node.who, None if same else (old.end, new.end))
                continue
            heads = _head(0, node), _head(1, node)
            ends = [
                concluded(state, last) if head is None and not state.end else state
                for state, head in zip(node.states, heads, strict=True)
            ]
            if ends != [old, new]:
                todo.append(node._replace(states=(ends[0], ends[1])))
            elif self._agrees(node, heads, last):
                yield Leaf(node.endpoints, node.who, None)
            else:
                todo += self._split(node, heads, last, seen)

    def _rules_of(self, endpoints: int, who: Who) -> Rules:
        """Return the rules that speak of any of the endpoints to any of the subjects, in order."""
        possible = self._possible.get(who.excluded)
        if possible is None:
            old, new = (
                [rule for rule in rules if rule.who is None or rule.who & ~who.excluded]
                for rules in self._rules
            )
            if len(self._possible) >= MAX_REMEMBERED:
                self._possible.clear()
            possible = self._possible[who.excluded] = old, new
        old, new = (
            [rule for rule in rules if rule.speech.anywhere & endpoints] for rules in possible
        )
        return old, new

    def _skipped(self, node: _Node, last: int, alike: Alike) -> _Node:
        """Return the node past the rules that come next and leave those to whom they apply with
        the same of both policies; those are no longer among its subjects."""
        old, new = node.states
        if old.end and new.end:
            return node
        if old.end or new.end:
            return self._skipped_alone(node, 0 if new.end else 1, last, alike)
        if old.stage != last or new.stage != last or old.pending != new.pending:
            return node
        endpoints, changed, implied = node.endpoints, self._changed, node.who.implied
        failing, (at, beside), (rules, others) = node.who.failing, (old.at, new.at), node.rules
        for one, other in zip(rules[at:], others[beside:], strict=False):
            if one.rank != other.rank or changed[one.rank] & endpoints:
                break
            silent = endpoints & ~one.speech.speaks[last]
            if silent != endpoints:
                who = one.who or 0
                if silent or who & implied or not one.is_plain:
                    break
                failing |= who
            at, beside = at + 1, beside + 1
        if at == old.at:
            return node
        return node._replace(
            who=node.who._replace(failing=failing),
            states=(old._replace(at=at), new._replace(at=beside)),
        )

    def _skipped_alone(self, node: _Node, side: int, last: int, alike: Alike) -> _Node:
        """The same where only one of the policies is still read."""
        state, end = node.states[side], node.states[1 - side].end
        endpoints, failing, at = node.endpoints, node.who.failing, state.at
        for rule in node.rules[side][at:]:
            silent = endpoints & ~rule.speech.speaks[state.stage]
            if silent != endpoints:
                who, denied = rule.who or 0, endpoints & rule.speech.denies[state.stage]
                mixed = silent or denied not in (0, endpoints)
                if mixed or who & node.who.implied or not rule.is_plain:
                    break
                told = told_by(state, rule, bool(denied), last).end
                if not (told and end and alike(told, end)):
                    break
                failing |= who
            at += 1
        if at == state.at:
            return node
        states = list(node.states)
        states[side] = state._replace(at=at)
        return node._replace(who=node.who._replace(failing=failing), states=(states[0], states[1]))

    def _agrees(self, node: _Node, heads: tuple[Rule | None, Rule | None], last: int) -> bool:
        """Return whether all that is still to be read is the same in both policies."""
        old, new = node.states
        if old.end or new.end or old.pending != new.pending or not old.stage == new.stage == last:
            return False
        first = min(rule.rank for rule in heads if rule)
        if not self._changed_from[first] & node.endpoints:
            return True
        one, other = heads
        return (
            one is not None
            and other is not None
            and one.rank == other.rank
            and one.enforced
            and not self._changed[one.rank] & node.endpoints
            and not node.endpoints & ~one.speech.speaks[last]
            and applies(one, node.who) is True
        )

    def _split(
        self,
        node: _Node,
        heads: tuple[Rule | None, Rule | None],
        last: int,
        seen: Mapping[int, int],
    ) -> Iterator[_Node]:
        """Read the rule that comes first, of some of the endpoints and subjects each."""
        side, rule = min(
            ((side, rule) for side, rule in enumerate(heads) if rule), key=lambda pair: pair[1].rank
        )
        state = node.states[side]
        spoken = node.endpoints & rule.speech.speaks[state.stage]
        if spoken != node.endpoints:
            yield node._replace(endpoints=node.endpoints & ~spoken)
            yield node._replace(endpoints=spoken)
            return
        predicate = applies(rule, node.who)
        if not isinstance(predicate, bool):
            if node.endpoints & ~seen.get(1 << predicate, 0):
                within = self._with(node.who, predicate)
                if not within.implied & within.failing and self._may_join(predicate, node.who):
                    yield node._replace(who=within)
            # Last in, first out: the many for whom it does not hold come before the few.
            holding, failing, excluded, implied = node.who
            others = Who(holding, failing | 1 << predicate, excluded, implied)
            yield _Node(node.endpoints, others, node.rules, node.states)
            return
        denied = spoken & rule.speech.denies[state.stage]
        for endpoints, denies in ((denied, True), (spoken & ~denied, False)):
            if endpoints:
                states = list(node.states)
                states[side] = told_by(state, rule, denies, last)
                yield _Node(endpoints, node.who, node.rules, (states[0], states[1]))

    def _may_join(self, predicate: int, who: Who) -> bool:
        """Return whether a predicate may hold for the subjects too; of two, it is seen later."""
        few = who.holding & (who.holding - 1) == 0
        return few or self._predicates.may_join(predicate, who.holding)

    def _with(self, who: Who, predicate: int) -> Who:
        compatible = self._predicates.compatible(predicate)
        return Who(
            who.holding | 1 << predicate,
            who.failing,
            who.excluded | self._predicates.all & ~compatible,
            who.implied | self._predicates.implied(predicate) | 1 << predicate,
        )


def _sought(side: int, node: _Node) -> State:
    """Return the state of one policy at the next rule that may have a say, or past all."""
    state = node.states[side]
    if state.end:
        return state
    rules = node.rules[side]
    for index in range(state.at, len(rules)):
        rule = rules[index]
        if (
            rule.speech.speaks[state.stage] & node.endpoints
            and (state.pending is None or rule.enforced)
            and applies(rule, node.who) is not False
        ):
            return state if index == state.at else State(state.stage, index, state.pending)
    return State(state.stage, len(rules), state.pending)


def _head(side: int, node: _Node) -> Rule | None:
    state, rules = node.states[side], node.rules[side]
    return None if state.end or state.at == len(rules) else rules[state.at]
