"""Which subject stands for a workload that is known by name: one that is here, else its like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from portwatch.agent.identity.named_subject import named_subject
from portwatch.agent.web.look import Outlook
from portwatch.agent.web.view import EVERYBODY_ELSE, OTHER, InForce, View
from portwatch.kernel.names import cut
from portwatch.policy.cases.specimens import specimens
from portwatch.policy.workload import Selector, Subject

NOBODY = Subject("/", 65534, 65534, "nobody", "nogroup")
NEAREST = 5


@dataclass(frozen=True, slots=True)
class Meant:
    """A subject, and what is to be said beside an answer about it."""

    subject: Subject
    note: str = ""


def names_here(view: View) -> list[str]:
    """Every workload that has a strip: defined ones, then those with violations, collisions or
    listeners."""
    defined = [one.name for one in view.in_force.policy.workloads] if view.in_force else []
    counted = [one.workload for one in view.violations]
    counted += [one.workload for one in view.collisions]
    listening = [series[0] for series, _ in view.listeners]
    names = dict.fromkeys((*defined, *counted, *sorted(listening)))
    return [name for name in names if name != OTHER]


def find(name: str, view: View, in_force: InForce) -> Meant | None:
    """The subject that a name of the metrics means; None where nobody is called so."""
    name = cut(name)
    if name == EVERYBODY_ELSE:
        return Meant(NOBODY, "somebody whom no selector names, as user nobody in the root cgroup")
    here = view.residents.get(name)
    if here is not None:
        return Meant(named_subject(here.cgroup, 0, 0, in_force.accounts, True, here.container))
    for workload in in_force.policy.workloads:
        if workload.name == name:
            return _like(workload.selectors, in_force)
    if name.startswith("/"):
        return Meant(Subject(name), f"there is no cgroup {name} here now: taken as root's")
    if name in names_here(view):
        return _like((_selector(name),), in_force)
    return None


def nearest(name: str, view: View) -> list[str]:
    """The names most like one that is unknown."""
    known = [*dict.fromkeys((*names_here(view), *view.residents, EVERYBODY_ELSE))]
    return get_close_matches(name[:200], known, NEAREST, 0.5)


def as_it_runs(
    meant: Meant, outlook: Outlook, in_force: InForce, host_network: bool | None = None
) -> Meant:
    """The same as the first process there is one, by its ids; in its network, where
    `host_network` does not say which."""
    who, note = meant.subject, meant.note
    if not note:
        processes = outlook.processes(who.cgroup)
        if processes:
            first = processes[0]
            who = named_subject(
                who.cgroup,
                first.uid,
                first.gid,
                in_force.accounts,
                first.in_host_network,
                who.container,
            )
            if any(process.uid != first.uid for process in processes):
                note = "its processes run as several users: this is for the first of them"
        else:
            note = "nothing runs there now: taken as root's"
    if host_network is not None:
        who = replace(who, host_network=host_network)
    return Meant(who, note)


def _like(selectors: tuple[Selector, ...], in_force: InForce) -> Meant:
    for selector in selectors:
        for one in specimens(selector, host_network=True):
            users, groups = in_force.accounts.users, in_force.accounts.groups
            subject = replace(
                one,
                uid=users.get(one.user or "", one.uid),
                gid=groups.get(one.group or "", one.gid),
            )
            return Meant(subject, f"none runs here now: as one in {one.cgroup} would be judged")
    return Meant(NOBODY, "nothing like it is known any more: as somebody whom no selector names")


def _selector(name: str) -> Selector:
    """What somebody who has gone was called: a pod, a container of some runtime, a unit."""
    runtime, colon, rest = name.partition(":")
    if runtime == "pod":
        namespace, slash, pod = rest.partition("/")
        if slash:
            return Selector(pod_namespace=(namespace,), pod_name=(pod,))
        return Selector(pod=(rest,))
    return Selector(container=(rest,)) if colon and rest else Selector(unit=(name,))
