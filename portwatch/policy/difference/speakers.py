"""Which rules of a policy apply to one subject and speak of one endpoint, without asking each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portwatch.policy.difference.predicates import HOST, bit_numbers
from portwatch.policy.difference.rule import Rule


class Speakers:
    """The rules of one policy, `default` last, as bits: bit i for rule i."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._everyones = self._of_hosts = 0
        self._for: dict[int, int] = {}
        self._but: dict[int, int] = {}
        self._applying: dict[int, int] = {}
        for number, rule in enumerate(rules):
            bit = 1 << number
            self._everyones |= bit if rule.who is None else 0
            self._of_hosts |= bit if rule.host_only else 0
            for index, predicates in ((self._for, rule.who or 0), (self._but, rule.but)):
                for predicate in bit_numbers(predicates):
                    index[predicate] = index.get(predicate, 0) | bit

    def at(self, endpoint: int, held: int) -> Iterator[int]:
        """Yield the numbers of the rules that speak of an endpoint's bit where just these
        predicates hold, in order."""
        if held not in self._applying:
            self._applying[held] = self._applying_where(held)
        for number in bit_numbers(self._applying[held]):
            if self._rules[number].speech.anywhere & endpoint:
                yield number

    def _applying_where(self, held: int) -> int:
        found, excepted = self._everyones, 0
        for predicate in bit_numbers(held):
            found |= self._for.get(predicate, 0)
            excepted |= self._but.get(predicate, 0)
        return found & ~excepted & (-1 if held & HOST else ~self._of_hosts)
