"""What a policy would have said to recorded binds, grouped, however many they were."""

from __future__ import annotations

from typing import NamedTuple

from portwatch.policy.decide import Decision, decide
from portwatch.policy.model import Policy
from portwatch.policy.replay.bind import RecordedBind
from portwatch.policy.tables.compile import Accounts, compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.scopes import scope_of
from portwatch.policy.workload import Subject

MAX_REMEMBERED = 50_000
"""Subjects, and tails of bursts, that are remembered at a time: a log may go on for months."""


class ReplayedKind(NamedTuple):
    """Binds alike: by whom, what and where, and the verdicts, with the constraint for any but
    `allowed`. `port`: a number, `ephemeral` for a bind to port 0, or `picked N`."""

    workload: str
    protocol: str
    port: str
    scope: str
    then: str
    then_by: str | None
    now: str
    now_by: str | None

    @property
    def differs(self) -> bool:
        """Whether the verdict is another."""
        return self.then != self.now


class Replay:
    """Call `take()` with each bind; `counts` says how often each kind was met.

    `unjudged`: binds of which too little was told.
    """

    def __init__(self, policy: Policy, accounts: Accounts) -> None:
        self._policy = policy
        self._compiled = compile_policy(policy, accounts)
        self._lookups = Lookups(self._compiled)
        self._names = AccountNames(accounts)
        self._subjects: dict[object, Subject] = {}
        self._beginnings: dict[object, ReplayedKind] = {}
        self.counts: dict[ReplayedKind, int] = {}
        self.unjudged = 0

    def take(self, bind: RecordedBind) -> None:
        """Judge one event's binds."""
        kind = self._kind(bind)
        if kind is None:
            self.unjudged += bind.times
            return
        self.counts[kind] = self.counts.get(kind, 0) + bind.times

    def kinds(self) -> list[tuple[ReplayedKind, int]]:
        """What differs first, what would be refused before what would be let through."""
        rank = {"denied": 0, "recorded": 1, "allowed": 2}
        return sorted(
            self.counts.items(),
            key=lambda item: (
                not item[0].differs,
                rank[item[0].now],
                item[0].workload,
                item[0].protocol,
                _port_order(item[0].port),
                tuple(map(str, item[0])),
            ),
        )

    def _kind(self, bind: RecordedBind) -> ReplayedKind | None:
        if bind.endpoint is None or bind.cgroup is None:
            return self._beginnings.get(bind.tail_key)
        decision = self._decide(bind)
        kind = ReplayedKind(
            bind.workload or bind.cgroup,
            bind.protocol,
            _port_text(bind),
            scope_of(bind.endpoint.address),
            bind.verdict,
            bind.constraint,
            decision.verdict,
            decision.constraint if decision.verdict != "allowed" else None,
        )
        if len(self._beginnings) >= MAX_REMEMBERED:
            self._beginnings.clear()
        self._beginnings[bind.tail_key] = kind
        return kind

    def _decide(self, bind: RecordedBind) -> Decision:
        assert bind.endpoint is not None and bind.cgroup is not None
        key = (bind.cgroup, bind.uid, bind.gid, bind.host_network, bind.container)
        subject = self._subjects.get(key)
        if subject is None:
            if len(self._subjects) >= MAX_REMEMBERED:
                self._subjects.clear()
                self._lookups = Lookups(self._compiled)
            subject = self._subjects[key] = self._names.subject(*key)
        if bind.endpoint.listening or self._policy.uses_declared:
            return decide(self._policy, subject, bind.endpoint)
        return self._lookups.decide(subject, bind.endpoint)


def _port_text(bind: RecordedBind) -> str:
    if bind.port == 0:
        return "ephemeral"
    assert bind.endpoint is not None
    return f"picked {bind.port}" if bind.endpoint.picked else str(bind.port)


def _port_order(text: str) -> tuple[bool, int]:
    number = text.removeprefix("picked ")
    return not text.isdecimal(), int(number) if number.isdecimal() else 0
