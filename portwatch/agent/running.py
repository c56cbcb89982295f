"""Who runs here now: a process, a unit or a container, as far as a policy can tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portwatch.agent.identity.container_asking import container_cgroups
from portwatch.agent.identity.containers import ContainerBook
from portwatch.node.cgroups import CgroupTree, cgroup_of_process
from portwatch.node.netns import in_host_network
from portwatch.node.paths import HostPaths
from portwatch.node.processes import real_ids, started_ns
from portwatch.policy.pod import KnownPod
from portwatch.policy.words.containers import is_id_prefix
from portwatch.policy.words.places import Place, place_of


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """One process; ids are the real ones."""

    pid: int
    cgroup: str
    uid: int
    gid: int
    in_host_network: bool


def running_process(host: HostPaths, pid: int) -> RunningProcess | None:
    """The process with this pid; None where there is none, or it ended while it was looked at."""
    started = started_ns(host.process(pid))
    cgroup, ids = cgroup_of_process(host, pid), real_ids(host, pid)
    is_host = in_host_network(host, pid)
    if started is None or cgroup is None or ids is None:
        return None
    if started_ns(host.process(pid)) != started:
        return None
    return RunningProcess(pid, cgroup, *ids, is_host)


def processes_in(tree: CgroupTree, host: HostPaths, cgroup: str) -> list[RunningProcess]:
    """The processes in a cgroup and below it, the one that started first at the head."""
    started = {pid: started_ns(host.process(pid)) or 0 for pid in tree.processes(cgroup)}
    found = (running_process(host, pid) for pid in sorted(started, key=lambda one: started[one]))
    return [process for process in found if process is not None]


def cgroups_of_unit(paths: Iterable[str], unit: str) -> list[str]:
    """Where a unit runs: the system's, else those that users' managers have by that name."""
    own: dict[str, list[str]] = {"system": [], "user": []}
    for path in paths:
        place = place_of(path)
        if place.unit == unit:
            own["system"].append(path)
        elif place.user_unit == unit:
            own["user"].append(path)
    return _outermost(own["system"] or own["user"])


def cgroups_of_container(paths: Iterable[str], name_or_id: str, book: ContainerBook) -> list[str]:
    """The containers of that name, or whose id begins so."""

    def is_meant(path: str, place: Place) -> bool:
        facts = book.facts(path)
        by_id = place.container is not None and is_id_prefix(name_or_id)
        if by_id and place.container and place.container.id.startswith(name_or_id):
            return True
        return facts is not None and facts.name == name_or_id

    found = container_cgroups(paths)
    return sorted(path for path in found if is_meant(path, place_of(path)))


def cgroups_of_pod(paths: Iterable[str], name: str, pods: Iterable[KnownPod]) -> list[str]:
    """The pods of that name, `NAMESPACE/NAME` or without the namespace, or of that uid."""
    namespace, _, only = name.rpartition("/")
    meant = {name}
    for pod in pods:
        if pod.name == only and namespace in ("", pod.namespace):
            meant.add(pod.uid)
    return _outermost([path for path in paths if place_of(path).pod in meant])


def _outermost(paths: list[str]) -> list[str]:
    """Without those that lie below another of them."""
    found: list[str] = []
    for path in sorted(paths):
        if not found or not path.startswith(f"{found[-1]}/"):
            found.append(path)
    return found
