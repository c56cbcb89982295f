"""The policy in force as the board needs it: reasons, workloads' names, who is meant."""

from __future__ import annotations

from contextlib import closing

from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import policy_in_kernel
from portwatch.kernel import layout
from portwatch.kernel.names import OTHER, Names
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import ObservedBind
from portwatch.policy.model import DEFAULT_NAME
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.compile import compile_policy
from portwatch.policy.tables.lookups import Lookups
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import MAX_ID, Subject


class Judge:
    """One policy, for its generation; NotLoaded where none is in force.

    What binds is remembered by the kernel without gid and network: it is judged as of no group, in
    the host's network.
    """

    def __init__(self, pin_dir: PinDir, names: Names, generation: int) -> None:
        self.policy, self.stored = policy_in_kernel(pin_dir)
        self.generation = generation
        self._names = names
        self._classes = pin_dir.open_map("cgroups")
        accounts = accounts_of(self.policy)
        self._accounts = AccountNames(accounts)
        self._lookups = Lookups(compile_policy(self.policy, accounts))
        self._reasons = {one.name: one.reason or "" for one in self.policy.constraints}
        self._reasons[DEFAULT_NAME] = self.policy.reason or ""
        self._workloads: dict[tuple[str, int], str] = {}

    def close(self) -> None:
        """Give the map back."""
        self._classes.close()

    def reason(self, constraint: str) -> str:
        """Why there is that constraint; empty where nobody said, or it is an older policy's."""
        return self._reasons.get(constraint, "")

    def workload(self, bind: ObservedBind, path: str) -> str:
        """What the kernel counts that bind's workload as; `path`: its cgroup's."""
        key = (path, bind.uid)
        if key not in self._workloads:
            self._workloads[key] = self._lookups.workload(
                self._subject(bind, path)
            ) or self._cgroup_name(bind.cgroup, path)
        return self._workloads[key]

    def is_violation(self, bind: ObservedBind, path: str) -> bool:
        """Whether the policy in force is against such a bind."""
        protocol = "tcp" if bind.protocol == "mptcp" else bind.protocol
        endpoint = Endpoint(protocol, bind.port, address_of(bind))
        return self._lookups.decide(self._subject(bind, path), endpoint).verdict != "allowed"

    def forget_names(self) -> None:
        """Ask the kernel again what cgroups are called: an engine may have told meanwhile."""
        self._workloads.clear()

    def _subject(self, bind: ObservedBind, path: str) -> Subject:
        return self._accounts.subject(path, bind.uid, MAX_ID + 1, True, None)

    def _cgroup_name(self, number: int, path: str) -> str:
        value = self._classes.get(bytes(layout.CgroupKey(id=number, generation=self.generation)))
        known = layout.CgroupClass.from_buffer_copy(value).workload if value else OTHER
        return self._names.text(known) if known else shown_name(path, ContainerBook())


def address_of(bind: ObservedBind) -> Address:
    """The address that was asked for."""
    return DUAL if bind.dual else Address.from_packed(bind.address)


def live_generation(pin_dir: PinDir) -> int:
    """Number of the policy in force; 0 for none. NotLoaded where the pins are gone."""
    with closing(pin_dir.open_map("control")) as control:
        return int.from_bytes((control.get(bytes(4)) or bytes(4))[:4], "little")
