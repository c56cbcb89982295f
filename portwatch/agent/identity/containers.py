"""What is known of containers: what their engines say, of which cgroup that is true, and which
network namespaces are theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.node.engines.facts import ContainerFacts
from portwatch.policy.words.places import Place, place_of
from portwatch.policy.workload import KnownContainer

MAX_CONTAINERS = 4096
"""Those that ended are remembered too: a container that is started again keeps its id."""


@dataclass(frozen=True, slots=True)
class _Entry:
    facts: ContainerFacts
    is_whole: bool  # the engine's own words; else only what its monitor's command line says
    verified: tuple[str, ...]  # cgroups that an engine of the system's says are this container's


@dataclass(frozen=True, slots=True)
class _Network:
    started_ns: int
    path: str  # of the container that had a process in it first


class ContainerBook:
    """Facts by whose engine it is and the container's id.

    A user's engine is asked of what lies below that user's units only, so that nobody's words
    reach another's containers.
    """

    def __init__(self, pods: PodBook | None = None) -> None:
        """`pods` is what the API server says."""
        self.pods = pods or PodBook()
        self._entries: OrderedDict[tuple[int, str], _Entry] = OrderedDict()
        self._networks: dict[int, _Network] = {}

    def learn(
        self, path: str, facts: ContainerFacts, *, is_verified: bool = False, is_whole: bool = True
    ) -> bool:
        """Enter what was found out about the container at `path`; whether it is news."""
        key = _key(place_of(path))
        if key is None or facts.id != key[1]:
            return False
        before = self._entries.get(key)
        if before is not None and before.is_whole and not is_whole:
            return False
        verified = before.verified if before else ()
        if is_verified and key[0] == 0 and path not in verified:
            verified = (*verified, path)
        entry = _Entry(facts, is_whole, verified)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_CONTAINERS:
            self._entries.popitem(last=False)
        return entry != before

    def facts(self, path: str) -> ContainerFacts | None:
        """What is known of the container that a cgroup lies in."""
        entry = self._entry(path)
        return entry.facts if entry else None

    def known(self, path: str) -> KnownContainer | None:
        """The same as the policy language sees it."""
        entry, pod = self._entry(path), self.pods.of(place_of(path).pod)
        if entry is None:
            return KnownContainer(pod=pod) if pod else None
        facts = entry.facts
        images = tuple(filter(None, (facts.image, facts.image_id)))
        return KnownContainer(facts.name, images, self.is_verified(path), pod)

    @property
    def declared(self) -> frozenset[tuple[str, int]]:
        """Protocol and port of all that known pods declare."""
        return frozenset(endpoint for pod in self.pods for endpoint in pod.declared)

    def is_verified(self, path: str) -> bool:
        """Whether the container of a cgroup is known to be what its path claims."""
        entry = self._entry(path)
        return entry is not None and any(
            f"{path}/".startswith(f"{cgroup}/") for cgroup in entry.verified
        )

    def is_settled(self, path: str) -> bool:
        """Whether nothing more is to be learned that could change who a cgroup is."""
        place = place_of(path)
        if place.container is None:
            return True
        entry = self._entry(path)
        is_whole = entry is not None and entry.is_whole
        return is_whole and (not place.is_claimed or self.is_verified(path))

    def may_change(self, path: str, uses_engines: bool, uses_pods: bool) -> bool:
        """Whether who a cgroup is may change without a new policy; a pod's labels always may."""
        if uses_pods and place_of(path).pod is not None:
            return True
        return uses_engines and not self.is_settled(path)

    def learn_network(self, path: str, inode: int, started_ns: int) -> bool:
        """Enter the network namespace of the first process of the container at `path`, with when
        that process started; whether it is news. Who came first owns it, others joined."""
        known = self._networks.get(inode)
        if known is not None and known.started_ns <= started_ns:
            return False
        self._networks[inode] = _Network(started_ns, path)
        return True

    def forget_network(self, path: str) -> None:
        """The container at `path` is gone: its namespace's number may be given again."""
        for inode in [inode for inode, one in self._networks.items() if one.path == path]:
            del self._networks[inode]

    def network_owner(self, inode: int) -> str | None:
        """The cgroup of the container that a network namespace was made for."""
        known = self._networks.get(inode)
        return known.path if known else None

    def dump(self, paths: Iterable[str]) -> dict[str, Any]:
        """As JSON what `load()` takes, for the containers of these cgroups."""
        found = {}
        for path in paths:
            key, entry = _key(place_of(path)), self._entry(path)
            if key and entry:
                facts = asdict(entry.facts)
                found[key] = {
                    "owner": key[0],
                    "facts": facts,
                    "is_whole": entry.is_whole,
                    "verified": entry.verified,
                }
        networks = [[inode, one.started_ns, one.path] for inode, one in self._networks.items()]
        return {
            "containers": list(found.values()),
            "networks": networks,
            "pods": self.pods.dump(),
        }

    @staticmethod
    def load(dumped: dict[str, Any]) -> ContainerBook:
        """What was dumped, in another process."""
        book = ContainerBook(PodBook.load(dumped["pods"]))
        for inode, started_ns, path in dumped["networks"]:
            book.learn_network(path, inode, started_ns)
        for one in dumped["containers"]:
            fields = dict(one["facts"])
            fields["labels"] = tuple((str(key), str(value)) for key, value in fields["labels"])
            facts = ContainerFacts(**fields)
            entry = _Entry(facts, bool(one["is_whole"]), tuple(one["verified"]))
            book._entries[int(one["owner"]), facts.id] = entry
        return book

    def _entry(self, path: str) -> _Entry | None:
        key = _key(place_of(path))
        return self._entries.get(key) if key else None


def _key(place: Place) -> tuple[int, str] | None:
    return (place.owner_uid, place.container.id) if place.container else None
