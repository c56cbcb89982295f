"""What a policy would have said to recorded binds, grouped, however many they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from portwatch.policy.compile import Accounts, compile_policy
from portwatch.policy.decide import Decision, decide
from portwatch.policy.lookups import Lookups
from portwatch.policy.model import Policy
from portwatch.policy.replayed_bind import RecordedBind
from portwatch.policy.scopes import scope_of
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


class Names:
    """The accounts of a machine, by number."""

    def __init__(self, accounts: Accounts) -> None:
        self._users = _by_number(accounts.users.items())
        self._groups = _by_number(accounts.groups.items())

    def subject(self, bind: RecordedBind) -> Subject:
        """Who made a bind that tells of its cgroup."""
        user, *users = self._users.get(bind.uid) or (None,)
        group, *groups = self._groups.get(bind.gid) or (None,)
        return Subject(
            cgroup=bind.cgroup or "/",
            uid=bind.uid,
            gid=bind.gid,
            user=user,
            group=group,
            host_network=bind.host_network,
            user_aliases=tuple(filter(None, users)),
            group_aliases=tuple(filter(None, groups)),
            container=bind.container,
        )

    def user(self, uid: int) -> str | None:
        """The first name of a uid."""
        return next(iter(self._users.get(uid, ())), None)


class Replay:
    """Call `take()` with each bind; `counts` says how often each kind was met.

    `unjudged`: binds of which too little was told.
    """

    def __init__(self, policy: Policy, accounts: Accounts) -> None:
        self._policy = policy
        self._compiled = compile_policy(policy, accounts)
        self._lookups = Lookups(self._compiled)
        self._names = Names(accounts)
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
        assert bind.endpoint is not None
        key = (bind.cgroup, bind.container, bind.uid, bind.gid, bind.host_network)
        subject = self._subjects.get(key)
        if subject is None:
            if len(self._subjects) >= MAX_REMEMBERED:
                self._subjects.clear()
                self._lookups = Lookups(self._compiled)
            subject = self._subjects[key] = self._names.subject(bind)
        if bind.endpoint.listening:
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


def _by_number(pairs: Iterable[tuple[str, int]]) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for name, number in pairs:
        found[number] = (*found.get(number, ()), name)
    return found
