"""Puts a policy into the kernel, atomically.

The `portwatch load` and `apply` commands use it for one swap, the agent for its whole life.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from portwatch.agent.cgroup_keeper import CgroupKeeper, FollowsCgroups
from portwatch.agent.identity.account_words import AccountWords
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.live_policy import LivePolicy, Published
from portwatch.agent.map_fill import map_fill
from portwatch.agent.policy_records import account_pairs, address_pairs, write_tables
from portwatch.agent.subjects import Subjects, SubjectsFull
from portwatch.agent.workload_names import WorkloadNames
from portwatch.errors import PolicyError, Problem
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap
from portwatch.kernel.foreign import Chain, chains, others_run_after, own_programs
from portwatch.kernel.generations import GENERATION_OFFSETS, forget_all_but
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.loading import link_target
from portwatch.kernel.names import Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.slots import Slots
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import CgroupTree
from portwatch.node.netns import HostNetwork
from portwatch.policy.model import Mode, Policy
from portwatch.policy.tables.compile import CompiledPolicy, compile_policy


class Publisher:
    """Holds the maps of one pin directory. What changes them takes the directory's lock."""

    def __init__(
        self,
        pin_dir: PinDir,
        tree: CgroupTree,
        host_network: HostNetwork,
        book: ContainerBook | None = None,
        followers: Sequence[FollowsCgroups] = (),
    ) -> None:
        self._pin_dir = pin_dir
        self._tree = tree
        self._host_network = host_network
        self.slots = Slots(pin_dir)
        self._live = LivePolicy(pin_dir, self.slots)
        self._maps: dict[str, BpfMap] = {
            name: pin_dir.open_map(name) for name in GENERATION_OFFSETS
        }
        self._chains: tuple[Chain, ...] = ()
        self._names_map = pin_dir.open_map("names")
        self.names = Names(self._names_map)
        self.workloads = WorkloadNames(self._live, self.names, book or ContainerBook())
        self.cgroups = CgroupKeeper(
            tree, self._live, self._maps["cgroups"], self.workloads, followers
        )

    def close(self) -> None:
        """Give the maps back; what is published stays."""
        self.slots.close()
        for opened in (*self._maps.values(), self._names_map):
            opened.close()

    def stored(self) -> StoredPolicy | None:
        """The live policy's text; None where no policy is live."""
        return StoredPolicy.read(self._maps["policy"], self.slots.generation)

    @property
    def live(self) -> Published | None:
        """What this process published last."""
        return self._live.published

    def superseded(self) -> bool:
        """Whether another process has published since."""
        return self._live.superseded()

    def publish(self, policy: Policy, stored: StoredPolicy, accounts: AccountTable) -> Published:
        """Compile and swap. PolicyError where it does not fit; the old one then stays live."""
        compiled = compile_policy(policy, accounts, self.workloads.book.declared)
        with self._pin_dir.changing():
            previous = self.slots.generation
            generation = self.slots.next_generation()
            if self.superseded():  # nobody told us that the idle slot's readers are gone
                self.slots.wait_for_readers()
                self._forget_all_but(previous)
                self.names.reload()
            try:
                published = self._fill(generation, policy, compiled, accounts)
                stored.write(self._maps["policy"], generation)
            except BaseException:
                self._forget_all_but(previous)
                raise
            flags = layout.CONTROL_PICKED if compiled.uses_picked else 0
            flags |= layout.CONTROL_SCOPES if compiled.uses_addresses else 0
            self.slots.publish(generation, flags)
            before, self._live.published = self.live, published
            self.slots.wait_for_readers()
            self._forget_all_but(generation)
        for path in before.ids.keys() - published.ids.keys() if before else ():
            self.cgroups.gone(path)
        self.notice_others()
        return published

    def outgrown_by(self) -> frozenset[tuple[str, int]]:
        """What pods declare and the policy's tables do not tell apart from other ports."""
        compiled = self.live.compiled if self.live else None
        if compiled is None or not compiled.uses_declared:
            return frozenset()
        return self.workloads.book.declared - compiled.declared.keys()

    def notice_others(self) -> None:
        """Have ports judged again after the bind where another's program may have changed them."""
        target = link_target(self._pin_dir, HOOKS[0])
        path = self.cgroups.path_of(target) if target else None
        if path is None:
            return
        cgroup = self._tree.mount_point / path.lstrip("/")
        try:
            found = chains(cgroup, self._tree.mount_point)
            if found != self._chains and others_run_after(found, own_programs(self._pin_dir)):
                self.expect_rewrites()
            self._chains = found
        except OSError:
            pass  # it is going, or we are; or we may not look, and then the survey does

    def expect_rewrites(self) -> None:
        """Have every port judged again after the bind, from now on."""
        self.slots.add_flags(layout.CONTROL_FOREIGN)

    @property
    def map_fill(self) -> dict[str, tuple[int, int]]:
        """Entries and capacity of what is filled from here, by map name."""
        if self.live is None:
            return {}
        maps = {**self._maps, "names": self._names_map}
        capacities = {name: opened.max_entries for name, opened in maps.items()}
        return map_fill(self.live, len(self.names), capacities)

    def _fill(
        self, generation: int, policy: Policy, compiled: CompiledPolicy, accounts: AccountTable
    ) -> Published:
        """Write everything of a policy under a generation that nobody reads yet."""
        constraints = [outcome.constraint for outcome in compiled.outcomes if outcome.constraint]
        numbers = self.names.numbers([*constraints, *(w.name for w in policy.workloads)])
        subjects = Subjects(compiled, numbers)
        named = AccountWords.of(policy).among(accounts)
        published = Published(generation, policy, compiled, subjects, named)
        tables = self.slots.slot(generation)
        tables.generation = 0  # unreadable until it is whole
        write_tables(tables, compiled, numbers, self._host_network)
        self._maps["addresses"].put_all(address_pairs(generation, compiled))
        self._maps["accounts"].put_all(account_pairs(generation, compiled))
        try:
            subjects.class_of("/", None, tables)
        except SubjectsFull as err:
            raise PolicyError([Problem(policy.source, 1, 1, f"too much: {err.what}")]) from err
        self.cgroups.enter(self._tree.scan(), published, tables)
        tables.generation = generation
        return published

    def _forget_all_but(self, generation: int) -> None:
        for opened in self._maps.values():
            forget_all_but(opened, generation)


def now_stored(
    sources: Iterable[tuple[str, str | bytes]], origin: str, mode: Mode | None
) -> StoredPolicy:
    """What to store of a policy that is published now."""
    texts = tuple(
        (name, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        for name, text in sources
    )
    return StoredPolicy(texts, origin, mode, time.time())
