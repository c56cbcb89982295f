"""The policy in force as the board needs it: reasons, workloads' names, who is meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from portwatch.agent.board.cgroup_paths import CgroupPaths
from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.container_asking import names_containers, names_pods
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import policy_in_kernel
from portwatch.errors import PolicyError
from portwatch.kernel import layout
from portwatch.kernel.names import Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import ObservedBind
from portwatch.node.netns import in_host_network
from portwatch.node.paths import HostPaths
from portwatch.policy.model import DEFAULT_NAME
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.ports import judged_as
from portwatch.policy.workload import MAX_ID

REMEMBERED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Judged:
    """`counted_as`: the workload that the kernel counts such binds under, by the cgroup's own class
    or, where it has none yet, by that of one above it; `shown_as`: what the cgroup is called.
    `constraint` is empty where the policy in force lets them through."""

    counted_as: str
    shown_as: str
    constraint: str


class Judge:
    """One policy, for its generation; NotLoaded where none is in force.

    What binds is remembered by the kernel without gid and network: it is judged as of no group,
    and of the network that its process is in, the host's where that has ended.
    """

    def __init__(
        self,
        pin_dir: PinDir,
        names: Names,
        generation: int,
        paths: CgroupPaths,
        host: HostPaths,
        ask: Callable[[], ContainerBook],
    ) -> None:
        """`ask` is for what is known of containers and pods now, where the policy goes by it."""
        self.policy, self.stored = policy_in_kernel(pin_dir)
        self.generation = generation
        self._names = names
        self._paths = paths
        self._host = host
        self._classes = pin_dir.open_map("cgroups")
        self._accounts = accounts_of(self.policy)
        self._names_of_ids = AccountNames(self._accounts)
        self._ask = ask if names_containers(self.policy) or names_pods(self.policy) else None
        self._book = ContainerBook()
        self._lookups = self._compiled()
        self._reasons = {one.name: one.reason or "" for one in self.policy.constraints}
        self._reasons[DEFAULT_NAME] = self.policy.reason or ""
        self._uses_network = any(one.network == "host" for one in self.policy.constraints)
        self._known: dict[tuple[object, ...], Judged] = {}
        self._due = 0.0

    def close(self) -> None:
        """Give the map back."""
        self._classes.close()

    def reason(self, constraint: str) -> str:
        """Why there is that constraint; empty where nobody said, or it is an older policy's."""
        return self._reasons.get(constraint, "")

    def judge(self, bind: ObservedBind, path: str) -> Judged:
        """What the kernel makes of such a bind; `path`: its cgroup's."""
        key = (bind.cgroup, bind.uid, bind.protocol, bind.port, bind.address, bind.dual)
        if key not in self._known:
            self._known[key] = self._judge(bind, path)
        return self._known[key]

    def tick(self, now: float) -> None:
        """Now and then cgroups have other classes, and engines tell names; `now` is monotonic."""
        if now >= self._due:
            self._known.clear()
            self._due = now + REMEMBERED_SECONDS
            if self._ask:
                self._learn(self._ask())

    def forget(self) -> None:
        """Ask the kernel again at the next reading."""
        self._due = 0.0

    def _judge(self, bind: ObservedBind, path: str) -> Judged:
        is_host = not self._uses_network or in_host_network(self._host, bind.pid)
        place, named = self._classified(path)
        container = self._book.known(place)
        subject = self._names_of_ids.subject(place, bind.uid, MAX_ID + 1, is_host, container)
        address = address_of(bind.address, bind.dual)
        endpoint = Endpoint(judged_as(bind.protocol), bind.port, address)
        decision = self._lookups.decide(subject, endpoint)
        against = decision.constraint if decision.verdict != "allowed" else None
        name = self._lookups.workload(subject) or named
        shown = name if place == path else shown_name(path, self._book)
        return Judged(name, shown, against or "")

    def _learn(self, book: ContainerBook) -> None:
        is_declared_anew = book.declared != self._book.declared
        self._book = book
        if is_declared_anew:
            with suppress(PolicyError):  # more than fit: the kernel's tables stay as well
                self._lookups = self._compiled()

    def _compiled(self) -> Lookups:
        return Lookups(compile_policy(self.policy, self._accounts, self._book.declared))

    def _classified(self, path: str) -> tuple[str, str]:
        """The cgroup, or the nearest above it, that the kernel has a class for, and its name."""
        for place, number in self._paths.line_of(path):
            key = layout.CgroupKey(id=number, generation=self.generation)
            value = self._classes.get(bytes(key))
            if value is not None:
                return place, self._names.text(layout.CgroupClass.from_buffer_copy(value).workload)
        return path, shown_name(path, self._book)


def address_of(packed: bytes, dual: bool) -> Address:
    """The address that was asked for."""
    return DUAL if dual else Address.from_packed(packed)


def live_generation(pin_dir: PinDir) -> int:
    """Number of the policy in force; 0 for none. NotLoaded where the pins are gone."""
    with closing(pin_dir.open_map("control")) as control:
        return int.from_bytes((control.get(bytes(4)) or bytes(4))[:4], "little")
