"""What a policy says of sockets that listen already.

sock_diag does not tell whether a port was asked for by number or picked by the kernel. A socket
is judged as one that asked for its number, but where its port lies in the range that the kernel
picks from, in its own network namespace:

- where an `allow` list lets `ephemeral` pass for that subject and address, and no `deny` list
  that comes first names the port, it is allowed;
- a UDP socket without a peer is most often a client's: it is allowed unless a `deny` list names
  its port.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.identity.named_subject import named_subject
from portwatch.node.accounts import AccountTable
from portwatch.node.listeners import Listener
from portwatch.policy.decide import Decision, Endpoint, decide
from portwatch.policy.model import Policy
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.scopes import scope_of
from portwatch.policy.workload import MAX_ID, Subject

NO_ID = MAX_ID + 1
"""The gid of a socket without a process: nobody's."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A listener, whose it is by name, and what the policy says of it.

    `decision` None: no policy is in force, or not for this socket's cgroup. `picked`: it counts
    as one whose port the kernel picked.
    """

    listener: Listener
    cgroup: str
    workload: str
    scope: str
    decision: Decision | None
    picked: bool = False

    @property
    def verdict(self) -> str | None:
        """`allowed`, `denied` (its like would be refused at the next bind) or `recorded`."""
        return self.decision.verdict if self.decision else None

    @property
    def violates(self) -> bool:
        """Whether it is against the policy."""
        return self.verdict in ("denied", "recorded")


def survey(
    policy: Policy | None,
    listeners: Iterable[Listener],
    accounts: AccountTable,
    below: str = "/",
    book: ContainerBook | None = None,
) -> list[Surveyed]:
    """Each listener with its verdict, in order.

    `below` is the cgroup that portwatch is attached to: others' binds it does not judge. `book`:
    what is known of containers. PolicyError where the policy does not fit its tables.
    """
    book = book or ContainerBook()
    judge = _Judge(policy, accounts, book) if policy else None
    scopes: dict[str, str] = {}
    return [
        _survey(listener, judge, below, _scope(listener.address, scopes), book)
        for listener in listeners
    ]


def _scope(address: str, known: dict[str, str]) -> str:
    if address not in known:
        known[address] = scope_of(Address.parse(address))
    return known[address]


def _survey(
    listener: Listener, judge: _Judge | None, below: str, scope: str, book: ContainerBook
) -> Surveyed:
    holder = listener.holder
    cgroup = holder.cgroup if holder else listener.made_in or "/"
    if judge is None:
        return Surveyed(listener, cgroup, shown_name(cgroup, book), scope, None)
    uid, gid = (holder.uid, holder.gid) if holder else (listener.uid, NO_ID)
    subject = judge.subject(cgroup, uid, gid, listener.is_host_network)
    workload = judge.lookups.workload(subject) or shown_name(cgroup, book)
    if not f"{cgroup}/".startswith(f"{below.rstrip('/')}/"):
        return Surveyed(listener, cgroup, workload, scope, None)
    decision, picked = judge.decide(subject, listener)
    return Surveyed(listener, cgroup, workload, scope, decision, picked)


class _Judge:
    """One policy's verdicts; each question is answered once."""

    def __init__(self, policy: Policy, accounts: AccountTable, book: ContainerBook) -> None:
        self._policy = policy
        self._accounts = accounts
        self._book = book
        self.lookups = Lookups(compile_policy(policy, accounts, book.declared))
        self._subjects: dict[tuple[str, int, int, bool], Subject] = {}
        self._ephemeral: dict[tuple[Subject, str, Address], Decision] = {}
        self._addresses: dict[str, Address] = {}

    def subject(self, cgroup: str, uid: int, gid: int, host_network: bool) -> Subject:
        key = (cgroup, uid, gid, host_network)
        known = self._subjects.get(key)
        if known is None:
            container = self._book.known(cgroup)
            known = named_subject(cgroup, uid, gid, self._accounts, host_network, container)
            self._subjects[key] = known
        return known

    def decide(self, subject: Subject, listener: Listener) -> tuple[Decision, bool]:
        """The verdict, and whether it is that of a port which the kernel picked."""
        address = self._address(listener)
        protocol, port = listener.protocol, listener.port
        numbered = self.lookups.decide(subject, Endpoint(protocol, port, address))
        is_udp = listener.state == "bound"
        if not listener.in_local_range or (numbered.verdict == "allowed" and not is_udp):
            return numbered, False
        picked = self.lookups.decide(subject, Endpoint(protocol, port, address, picked=True))
        if picked.verdict != "allowed":
            return numbered, False
        if is_udp:
            return picked, True
        ephemeral = self._ephemeral_decision(subject, protocol, address)
        if ephemeral.verdict == "allowed" and ephemeral.constraint is not None:
            return ephemeral, True
        return numbered, False

    def _ephemeral_decision(self, subject: Subject, protocol: str, address: Address) -> Decision:
        """By the reference, which says whether a list allowed it; the tables do not."""
        key = (subject, protocol, address)
        if key not in self._ephemeral:
            self._ephemeral[key] = decide(self._policy, subject, Endpoint(protocol, 0, address))
        return self._ephemeral[key]

    def _address(self, listener: Listener) -> Address:
        if listener.dual:
            return DUAL
        known = self._addresses.get(listener.address)
        if known is None:
            known = self._addresses[listener.address] = Address.parse(listener.address)
        return known
