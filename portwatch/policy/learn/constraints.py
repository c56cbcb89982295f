"""From binds that were seen to the tightest constraints that allow them all.

Each workload may have what it was seen to bind and nothing else. Ports on the same addresses stand
in one constraint. Instances of a template, and numbered replicas, become one workload where all
that were seen bind alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from portwatch.policy.catalog.catalog import readable_catalog
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.ports import LearnedRange, coalesce
from portwatch.policy.learn.table import Port, Table, Uses, by_workload, generalised
from portwatch.policy.learn.use import LearnedUse, joined
from portwatch.policy.learn.workload import LearnedWorkload
from portwatch.policy.model import DEFAULT_NAME, Acceptable
from portwatch.policy.words.addresses import ADDRESS_WORDS
from portwatch.policy.words.ports import PROTOCOLS

DEFAULT_SLACK = 2
_MAX_NAME = 63
_SUFFIXES = (".service", ".scope", ".socket")


class LearnedEntry(NamedTuple):
    """One word of an `allow` list, and what was seen of it."""

    protocol: str
    ports: LearnedRange
    use: LearnedUse


class LearnedAcceptance(NamedTuple):
    """A finding of `check` that is true of what was seen, and what of it, in a few words."""

    id: Acceptable
    about: str


class LearnedConstraint(NamedTuple):
    """What one workload may bind on these addresses. `is_last`: and it may bind nothing else."""

    name: str
    workload: LearnedWorkload
    scopes: tuple[str, ...]
    entries: tuple[LearnedEntry, ...]
    is_last: bool
    accepts: tuple[LearnedAcceptance, ...] = ()


class Learned(NamedTuple):
    """Constraints in the order in which they have to stand. `left_out`: kinds of bind whose
    workload no selector can name."""

    constraints: tuple[LearnedConstraint, ...]
    left_out: int

    @property
    def total(self) -> LearnedUse:
        """All that was seen, in one."""
        return joined(entry.use for one in self.constraints for entry in one.entries)

    @property
    def workloads(self) -> int:
        """How many the constraints are about."""
        return len({one.workload for one in self.constraints})

    @property
    def unseen(self) -> int:
        """How many ports the slack added."""
        return sum(entry.ports.unseen for one in self.constraints for entry in one.entries)


def learn(
    binds: Iterable[SeenBind],
    slack: int = DEFAULT_SLACK,
    names: Iterable[str] = (),
    is_closed: bool = True,
) -> Learned:
    """Ports at most `slack` apart become one range, but never over a port that was seen elsewhere
    or that the catalog knows.

    `names`: of constraints that there are already. Not `is_closed`: what was not seen is left to
    the constraints that follow.
    """
    table, left_out = by_workload(binds)
    ranges = _Ranges(table, slack)
    table = generalised(table)
    taken = {DEFAULT_NAME, *names}
    found = []
    for workload in sorted(table, key=lambda one: one.order):
        groups = _by_scopes(table[workload])
        base = _base_name(workload)
        for number, (scopes, uses) in enumerate(groups, 1):
            is_last = number == len(groups)
            name = _unique(base if is_last else f"{base}-{'-'.join(scopes)}", taken)
            entries = tuple(ranges.entries(uses))
            found.append(LearnedConstraint(name, workload, scopes, entries, is_last and is_closed))
    return Learned(tuple(found), left_out)


class _Ranges:
    """Ranges over the ports of one group, and what may not come to lie in one."""

    def __init__(self, table: Table, slack: int) -> None:
        self._slack = slack
        self._seen: set[Port] = {port for uses in table.values() for port in uses}
        self._known = {
            number
            for entry in readable_catalog().values()
            for item in entry.ranges
            for number in range(item.first, item.last + 1)
        }

    def entries(self, uses: Uses) -> Iterator[LearnedEntry]:
        for protocol in PROTOCOLS:
            numbers = sorted(number for one, number in uses if one == protocol)

            def may_add(number: int, protocol: str = protocol) -> bool:
                return (protocol, number) not in self._seen and number not in self._known

            for item in coalesce(numbers, self._slack, may_add):
                inside = range(item.first, item.last + 1)
                use = joined(uses[protocol, n] for n in inside if (protocol, n) in uses)
                yield LearnedEntry(protocol, item, use)


def _by_scopes(uses: Uses) -> list[tuple[tuple[str, ...], Uses]]:
    """Ports by the addresses that they were bound on, what is on loopback alone first. Where that
    would be more groups than there are addresses, each address has its own."""
    groups: dict[tuple[str, ...], Uses] = {}
    for port, use in uses.items():
        scopes = tuple(sorted(use.scopes, key=_scope_order))
        groups.setdefault(scopes, {})[port] = use
    words = {word for scopes in groups for word in scopes}
    if len(groups) > len(words):
        groups = {
            (word,): {port: use for port, use in uses.items() if word in use.scopes}
            for word in words
        }
    return sorted(groups.items(), key=lambda item: [_scope_order(word) for word in item[0]])


def _scope_order(word: str) -> tuple[int, str]:
    is_word = word in ADDRESS_WORDS
    return (ADDRESS_WORDS.index(word) if is_word else len(ADDRESS_WORDS)), word


def _base_name(workload: LearnedWorkload) -> str:
    """A workload's name as a constraint may have it; a user's unit has the user before it."""
    name = workload.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    beside = [str(value) for key, value in workload.keys[1:] if key in ("user", "slice")]
    words = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join([*beside, name]))
    return words.strip("-._") or "root"


def _unique(wanted: str, taken: set[str]) -> str:
    wanted = re.sub(r"[^A-Za-z0-9._]+", "-", wanted)[:_MAX_NAME].strip("-._")
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted[: _MAX_NAME - 8]}-{number}"
    taken.add(name)
    return name
