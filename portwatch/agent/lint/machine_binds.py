"""What was bound on this machine, from the kernel and from what listens now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from portwatch.agent.clock import Clock
from portwatch.agent.identity.container_asking import ask_now
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import attached_below, policy_in_kernel
from portwatch.agent.seen_binds import SeenBinds
from portwatch.errors import NotLoaded
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.listeners import find_listeners
from portwatch.node.paths import HostPaths
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.compile import Accounts, compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.workload import MAX_ID, declared_ports


class MachineBinds:
    """Looks once. `notes`: what could not be looked at, a sentence each; `left_out`: as SeenBinds
    has it."""

    def __init__(
        self,
        pin_dir: PinDir,
        tree: CgroupTree,
        host: HostPaths,
        accounts: Accounts,
        engines: Sequence[EngineSocket],
    ) -> None:
        self._pin_dir = pin_dir
        self._tree = tree
        self._host = host
        self._accounts = accounts
        self._engines = engines
        self.notes: list[str] = []
        self.left_out: dict[str, int] = {}

    def find(self, since_seconds: float | None) -> list[SeenBind]:
        """What the kernel saw since then and would still let through, and all that listens."""
        paths = self._tree.scan()
        book = ask_now(self._tree, self._host, paths, self._engines)
        found, below = self._observed(paths, book, since_seconds)
        listing = find_listeners(self._host)
        self.notes += [f"what listens in {text}" for text in listing.not_seen]
        seen = SeenBinds(AccountNames(self._accounts), book)
        found += list(seen.listening(listing.listeners, below, found))
        return found

    def _observed(
        self, paths: dict[str, int], book: ContainerBook, since_seconds: float | None
    ) -> tuple[list[SeenBind], str]:
        try:
            with closing(Readings(self._pin_dir)) as readings:
                observed = readings.observed()
        except NotLoaded:
            self.notes.append(f"nothing is loaded at {self._pin_dir.path}: only what listens")
            return [], "/"
        numbers = {number: path for path, number in paths.items()}
        seen = SeenBinds(AccountNames(self._accounts), book, self.left_out)
        binds = seen.observed(observed, numbers, self._host, Clock(), since_seconds)
        return self._let_through(list(binds)), attached_below(self._pin_dir, self._tree)

    def _let_through(self, binds: list[SeenBind]) -> list[SeenBind]:
        """The kernel remembers what it refused, too: without what the policy in force denies."""
        try:
            policy, _ = policy_in_kernel(self._pin_dir)
        except NotLoaded:
            return binds
        declared = {one for bind in binds for one in declared_ports(bind.cgroup, bind.container)}
        lookups = Lookups(compile_policy(policy, self._accounts, declared))
        names = AccountNames(self._accounts)
        kept = []
        for bind in binds:
            uid = MAX_ID + 1 if bind.uid is None else bind.uid
            subject = names.subject(bind.cgroup, uid, MAX_ID + 1, True, bind.container)
            endpoint = Endpoint(bind.protocol, bind.port, bind.address)
            if lookups.decide(subject, endpoint).verdict != "denied":
                kept.append(bind)
        denied = len(binds) - len(kept)
        if denied:
            self.left_out["that the policy in force denies"] = denied
        return kept
