"""An existing policy, extended by what was seen, its text otherwise as it was.

Where an `allow` list was too short, a constraint that allows the rest is put before the one that
says so; workloads that no constraint decides about get one at the end. What a `deny` list refuses
stays refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from portwatch.policy.decide import decide
from portwatch.policy.learn.acceptance import accepting_in
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.constraints import LearnedConstraint, learn
from portwatch.policy.learn.insertion import END, Insertion, inserted
from portwatch.policy.lint.local_ports import LocalPorts
from portwatch.policy.model import UNKNOWN_PODS, Constraint, Mode, Policy
from portwatch.policy.reading import Endpoint, judge, read
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import Accounts
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import MAX_ID, Subject

NOBODY = MAX_ID + 1
"""The id where none is known."""

ANY = Endpoint("tcp", 1, Address(1))
"""Whether a constraint is about a workload does not depend on what is bound."""


@dataclass(frozen=True)
class Extended:
    """The text as extended, what was added, and the binds that it still does not allow."""

    text: str
    added: tuple[LearnedConstraint, ...]
    refused: tuple[SeenBind, ...]


def extend(
    name: str,
    text: str,
    binds: Iterable[SeenBind],
    accounts: Accounts,
    slack: int,
    local: LocalPorts | None = None,
) -> Extended:
    """Add what the policy in `text` lacks. PolicyError where it is no policy, UsageError where
    nothing can be put into it. `local`: as accepting() has it."""
    policy = parse_policy([(name, text)], source=name)
    seen = list(binds)
    readers = _Readers(policy, AccountNames(accounts))
    missing: dict[int, list[SeenBind]] = {}
    for bind in seen:
        where = readers.lacks(bind)
        if where is not None:
            missing.setdefault(where, []).append(bind)
    names = [constraint.name for constraint in policy.constraints]
    insertions = []
    for where, group in sorted(missing.items()):
        at_end = where == END
        learned = learn(group, slack if at_end else 1, names, is_closed=at_end)
        names += [constraint.name for constraint in learned.constraints]
        insertions.append(Insertion(where, learned.constraints, _own_mode(policy, where)))
    if insertions:
        tried = parse_policy([(name, inserted(name, text, insertions))], source=name)
        insertions = [
            one._replace(constraints=accepting_in(tried, one.constraints, local))
            for one in insertions
        ]
        text = inserted(name, text, insertions)
    after = _Readers(parse_policy([(name, text)], source=name), AccountNames(accounts))
    refused = tuple(bind for bind in seen if not after.allows(bind))
    added = tuple(constraint for one in insertions for constraint in one.constraints)
    return Extended(text, added, refused)


class _Readers:
    """What a policy says of seen binds; of each workload only the constraints about it are read."""

    def __init__(self, policy: Policy, known: AccountNames) -> None:
        self._policy = policy
        self._known = known
        self._numbers = {one.name: number for number, one in enumerate(_written(policy))}
        self._seen_by: dict[Subject, Policy] = {}

    def lacks(self, bind: SeenBind) -> int | None:
        """The constraint that is too short for it, END where none speaks of it; None where it is
        allowed, or denied by a list or for want of knowing the pod."""
        subject, policy = self._view(bind)
        endpoint = _endpoint(bind)
        said = read(policy, subject, endpoint).would_be
        if said is not None:
            too_short = said.effect == "deny" and said.cause == "otherwise"
            return self._numbers.get(said.constraint.name) if too_short else None
        if endpoint.lists_only:  # let through now, and not what then listens on the picked port
            ends = (one for one in _written(policy) if one.otherwise == "deny")
            return next((self._numbers[one.name] for one in ends), END)
        return END

    def allows(self, bind: SeenBind) -> bool:
        """Whether it is no violation."""
        subject, policy = self._view(bind)
        return decide(policy, subject, _endpoint(bind)).verdict == "allowed"

    def _view(self, bind: SeenBind) -> tuple[Subject, Policy]:
        uid = NOBODY if bind.uid is None else bind.uid
        subject = self._known.subject(bind.cgroup, uid, NOBODY, bind.host_network, bind.container)
        if subject not in self._seen_by:
            about = [
                one for one in self._policy.constraints if judge(one, subject, ANY).effect != "skip"
            ]
            self._seen_by[subject] = replace(self._policy, constraints=tuple(about))
        return subject, self._seen_by[subject]


def _written(policy: Policy) -> list[Constraint]:
    """The constraints that stand in the text: those among which something can be put."""
    return [one for one in policy.constraints if one.name != UNKNOWN_PODS]


def _endpoint(bind: SeenBind) -> Endpoint:
    return Endpoint(bind.protocol, bind.port, bind.address)


def _own_mode(policy: Policy, where: int) -> Mode | None:
    """What an added constraint has to say: the mode of the one that it stands before; at the end it
    only records, whatever the rest does."""
    mode = "record" if where == END else _written(policy)[where].mode
    return None if mode == policy.mode else mode
