"""What a command that ends at once can find out about containers: asked, and waited for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.kubernetes.pod_file import pods_of_agents
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.conmon import monitors
from portwatch.node.engines.lookups import Wanted
from portwatch.node.engines.single_lookup import find_now
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.netns import host_network_inode, network_of_cgroup
from portwatch.node.paths import HostPaths
from portwatch.policy.model import Policy
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import OF_API_SERVER

TIMEOUT_SECONDS = 1.0


def ask_now(
    tree: CgroupTree,
    host: HostPaths,
    paths: Iterable[str],
    sockets: Sequence[EngineSocket] = (),
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> ContainerBook:
    """What engines, and /proc, tell of the containers of these cgroups within that time, with what
    agents here know of pods.

    An engine that is slow or absent leaves names out, and is no error.
    """
    book = ContainerBook(pods_of_agents(host))
    wanted = [wanted_of(path) for path in container_cgroups(paths)]
    if wanted:
        learn_from_monitors(book, host, wanted)
    for one in wanted:
        path = one.cgroup
        network = network_of_cgroup(tree, host, path)
        if network is not None and network[0] != host_network_inode(host):
            book.learn_network(path, *network)
    for one, facts in find_now(wanted, sockets, timeout_seconds, host).items():
        book.learn(one.cgroup, facts, is_verified=one.verify)
    return book


def learn_from_monitors(book: ContainerBook, host: HostPaths, wanted: Iterable[Wanted]) -> None:
    """What the command lines of monitors say; a user's monitor speaks for that user's only."""
    monitored = {(one.owner_uid, one.facts.id): one.facts for one in monitors(host)}
    for one in wanted:
        facts = monitored.get((one.owner_uid, one.id))
        if facts is not None:
            book.learn(one.cgroup, facts, is_whole=False)


def names_containers(policy: Policy) -> bool:
    """Whether some verdict depends on what an engine says."""
    selectors = [s for c in policy.constraints for s in (*(c.subject_for or ()), *c.subject_except)]
    return any(selector.container or selector.image for selector in selectors)


def names_pods(policy: Policy) -> bool:
    """Whether some verdict depends on what the API server says."""
    selectors = [s for c in policy.constraints for s in (*(c.subject_for or ()), *c.subject_except)]
    named = any(getattr(selector, key) for selector in selectors for key in OF_API_SERVER)
    return named or policy.uses_declared


def container_cgroups(paths: Iterable[str]) -> set[str]:
    """The own cgroups of the containers that these lie in."""
    return {found for found in (place_of(path).container_cgroup for path in paths) if found}


def wanted_of(container_cgroup: str) -> Wanted:
    """What to ask about the container with this cgroup."""
    place = place_of(container_cgroup)
    assert place.container is not None
    container = place.container
    return Wanted(
        container.id, container.runtime, place.owner_uid, container_cgroup, place.is_claimed
    )
