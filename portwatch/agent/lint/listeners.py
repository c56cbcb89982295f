"""What listens here, or was seen to bind, against what a policy says of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from portwatch.agent.identity.named_subject import named_subject
from portwatch.agent.lint.machine import Machine
from portwatch.agent.survey.survey import NO_ID, Surveyed, survey
from portwatch.policy.lint.finding import Finding, listed
from portwatch.policy.model import Constraint, Policy
from portwatch.policy.reading import Endpoint, judge
from portwatch.policy.words.addresses import DUAL, V4_WILDCARD, V6_WILDCARD, Address
from portwatch.policy.words.places import place_of
from portwatch.policy.words.scopes import scope_of
from portwatch.policy.workload import Subject

SSH = "ssh-lock-out"
LOCK_OUT = "lock-out"
LATER = "lock-out-once-enforced"
URGENCY = {SSH: 2, LOCK_OUT: 1, LATER: 0}
WILDCARD = "wildcard-not-needed"
SSH_PORT = 22


def lock_outs(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Yield, for each workload and port, that what listens now would be refused at its next start,
    or would be once a constraint that only records is enforced."""
    surveyed = survey(policy, machine.listeners, machine.accounts, book=machine.book)
    groups: dict[tuple[str, str, str, str, int], list[Surveyed]] = defaultdict(list)
    for one in surveyed:
        if one.violates and one.decision and one.decision.constraint:
            where = (one.decision.constraint, one.decision.verdict, one.workload)
            groups[*where, one.listener.protocol, one.listener.port].append(one)
    places = {constraint.name: constraint for constraint in policy.constraints}
    for (name, verdict, _, _, _), sockets in groups.items():
        id, reason, remedy = _lock_out(sockets, verdict)
        constraint = places.get(name)
        if constraint is not None:
            yield Finding.of(constraint, id, reason, remedy, URGENCY[id])
        else:
            yield Finding.of_default(policy, id, reason, remedy, URGENCY[id])


def _lock_out(sockets: list[Surveyed], verdict: str) -> tuple[str, str, str]:
    first = sockets[0]
    listener, holder = first.listener, first.listener.holder
    addresses = listed(sorted({one.listener.address for one in sockets}))
    who = f"{holder.comm} (pid {holder.pid})" if holder else "an unseen process"
    is_ssh = listener.protocol == "tcp" and (
        listener.port == SSH_PORT or (holder is not None and holder.comm == "sshd")
    )
    what = f"{who} of {first.workload} has {listener.port}/{listener.protocol} on {addresses}"
    remedy = f"allow {listener.port}/{listener.protocol} to {_meant(first.cgroup)}, or except it"
    if verdict == "recorded":
        return (
            LATER,
            f"{what}, and would be refused at its next start if this were enforced",
            remedy,
        )
    reason = f"{what}, and would be refused at its next start"
    return (SSH if is_ssh else LOCK_OUT), reason, remedy


def _meant(cgroup: str) -> str:
    unit = place_of(cgroup).unit
    if unit is None and cgroup == "/":
        return "whoever it is"
    return f"{{unit: {unit}}}" if unit else f"{{cgroup: {cgroup}}}"


def wildcards(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Yield constraints that let a workload bind the wildcard address, of which all that listens or
    was seen to bind keeps to loopback."""
    open_ = [one for one in policy.constraints if one.subject_for and _allows_wildcard(one)]
    scopes: dict[str, set[str]] = defaultdict(set)
    ports: dict[str, set[str]] = defaultdict(set)
    for subject, endpoint, scope in _uses(machine) if open_ else ():
        for constraint in open_:
            if constraint.allow.find(endpoint.protocol, endpoint.port) is None:
                continue
            if judge(constraint, subject, endpoint).cause == "allow":
                scopes[constraint.name].add(scope)
                ports[constraint.name].add(f"{endpoint.port}/{endpoint.protocol}")
    for constraint in open_:
        if scopes[constraint.name] == {"loopback"}:
            seen = listed(sorted(ports[constraint.name]))
            reason = f"it allows any address, and on this machine {seen} was seen on loopback only"
            remedy = "add `addresses: [loopback]`, if nobody else is to reach it"
            yield Finding.of(constraint, WILDCARD, reason, remedy)


def _allows_wildcard(constraint: Constraint) -> bool:
    addresses = constraint.addresses
    if not constraint.allow.ranges:
        return False
    wildcards = (V4_WILDCARD, V6_WILDCARD)
    return addresses is None or any(addresses.find(one) is not None for one in wildcards)


def _uses(machine: Machine) -> Iterator[tuple[Subject, Endpoint, str]]:
    """Who has, or had, which port by number, and the scope of its address."""
    for one in machine.listeners:
        cgroup = one.holder.cgroup if one.holder else one.made_in or "/"
        uid, gid = (one.holder.uid, one.holder.gid) if one.holder else (one.uid, NO_ID)
        plain = Address.parse(one.address)
        subject = _subject(machine, cgroup, uid, gid, one.is_host_network)
        endpoint = Endpoint(one.protocol, one.port, DUAL if one.dual else plain)
        yield subject, endpoint, scope_of(plain)
    paths = {number: path for path, number in machine.cgroups.items()}
    seen: set[tuple[str, int, str, int, bytes]] = set()
    for bind in machine.observed:
        key = (paths.get(bind.cgroup, ""), bind.uid, bind.protocol, bind.port, bind.address)
        if not key[0] or not bind.port or key in seen:
            continue
        seen.add(key)
        plain = Address.from_packed(bind.address)
        endpoint = Endpoint(bind.protocol, bind.port, DUAL if bind.dual else plain)
        yield _subject(machine, key[0], bind.uid, NO_ID, True), endpoint, scope_of(plain)


def _subject(machine: Machine, cgroup: str, uid: int, gid: int, is_host: bool) -> Subject:
    return named_subject(cgroup, uid, gid, machine.accounts, is_host, machine.book.known(cgroup))
