"""A collision as users read it: the `collision` event of CONTRACT §4, and which socket is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from portwatch.agent.events.format import Event, address_text
from portwatch.agent.events.process import holding_process
from portwatch.kernel import layout
from portwatch.kernel.readings import CollisionKey
from portwatch.node.listeners import Listener
from portwatch.policy.words.addresses import Address
from portwatch.policy.words.scopes import scope_of

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
NETWORK_STATES = ("listen", "bound")
NEVER = "~"  # sorts behind every date


class KnowsNames(Protocol):
    """What names the kernel's numbers stand for: kernel.names.Names, or a test's."""

    def text(self, number: int) -> str:
        """The name of a number."""


class KnowsWorkloads(Protocol):
    """What workloads are called: agent.workload_names.WorkloadNames, or a test's."""

    @property
    def names(self) -> KnowsNames:
        """Those that the kernel's records refer to."""

    def workload_name(self, cgroup: str, uid: int, gid: int, host_network: bool) -> str:
        """What the policy in force calls a process."""

    def workload_parts(self, path: str) -> Event:
        """Who a cgroup is, as events have it."""


def collision_event(
    facts: Event, holder: Listener | None, count: int, publisher: KnowsWorkloads
) -> Event:
    """All but `time`; `holder` absent where nobody was found that has the port."""
    event: Event = {"kind": "collision", "errno": "EADDRINUSE", **facts}
    if holder is not None:
        event["holder"] = _holder(holder, publisher)
    return {**event, "count": count}


def left_event(key: CollisionKey, count: int, publisher: KnowsWorkloads) -> Event:
    """Collisions of which nothing but their count is known any more."""
    return {
        "kind": "collision",
        "errno": "EADDRINUSE",
        "bind": {"protocol": layout.PROTOCOL_NAMES[key.protocol], "port": key.port},
        "workload": {"name": publisher.names.text(key.workload)},
        "count": count,
    }


def sharing_event(
    facts: Event, raw: layout.Event, holders: list[Listener], publisher: KnowsWorkloads
) -> Event | None:
    """The same of a bind that went through though another workload has the port, that of the
    oldest process; None where none is known to, or the bind came to nothing."""
    mine = facts["workload"]["name"]
    named = [(_workload_name(one, publisher), one) for one in conflicting(raw, holders)]
    others = [one for name, one in named if name not in (mine, "") and one.state in NETWORK_STATES]
    if not others or all(name != mine for name, _ in named):
        return None
    holder = min(others, key=lambda one: one.holder.since if one.holder else NEVER)
    found = _holder(holder, publisher)
    return {"kind": "collision", "shared": True, **facts, "holder": found, "count": 1}


def conflicting(raw: layout.Event, holders: list[Listener]) -> Iterator[Listener]:
    """Those sockets whose address is among the bind's, or the other way round."""
    wanted = reach(address_text(bytes(raw.address)), bool(raw.scope & layout.SCOPE_DUAL))
    for one in holders:
        if overlap(wanted, reach_of(one)):
            yield one


Reach = tuple[frozenset[str], str | None]
"""IP versions that an address is exposed on, and the one address, None for all of them."""


def reach(address: str, dual: bool) -> Reach:
    """What a bind of an address is exposed on."""
    if dual:
        return frozenset(("4", "6")), None
    version = "6" if ":" in address else "4"
    if address in WILDCARDS:
        return frozenset(version), None
    return frozenset(version), address


def reach_of(one: Listener) -> Reach:
    """What a socket is exposed on."""
    return reach(one.address, one.dual)


def reach_of_rule(families: Iterable[int], address: str | None) -> Reach:
    """What a NAT rule for these IP versions takes, of the one address or of all."""
    return frozenset(map(str, families)), address


def overlap(one: Reach, other: Reach) -> bool:
    """Whether something could be sent to both."""
    versions = one[0] & other[0]
    return bool(versions) and (None in (one[1], other[1]) or one[1] == other[1])


def is_in_reach(asked: Address, families: Iterable[int], address: str | None) -> bool:
    """Whether a NAT rule for these IP versions, and the one address or all, takes what comes in
    for a socket that is bound to `asked`; from loopback nothing does."""
    if scope_of(asked) == "loopback":
        return False
    return overlap(reach(str(asked), asked.dual), reach_of_rule(families, address))


def _holder(one: Listener, publisher: KnowsWorkloads) -> Event:
    cgroup = holding_cgroup(one)
    parts = publisher.workload_parts(cgroup) if cgroup is not None else {}
    return holder_parts(one, _workload_name(one, publisher), parts)


def _workload_name(one: Listener, publisher: KnowsWorkloads) -> str:
    cgroup, holder = holding_cgroup(one), one.holder
    if cgroup is None:
        return ""
    uid, gid = (holder.uid, holder.gid) if holder else (one.uid, -1)
    return publisher.workload_name(cgroup, uid, gid, one.is_host_network)


def holding_cgroup(one: Listener) -> str | None:
    """That of the process which has the socket, else that which made it."""
    return one.holder.cgroup if one.holder else one.made_in


def holder_parts(one: Listener, workload: str, parts: Event) -> Event:
    """Who has a port, `parts` being its workload's. `more` processes share the socket; a
    connection that has ended has none."""
    found: Event = {"state": one.state, "address": one.address}
    if parts:
        found["workload"] = {"name": workload, **parts}
    if one.holder is not None:
        found["process"] = holding_process(one.holder)
        found["since"] = one.holder.since
    if one.more:
        found["more"] = one.more
    return found
