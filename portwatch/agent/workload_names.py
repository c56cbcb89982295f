"""What workloads are called: in events, in counts, by the policy in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portwatch.agent.events.workload import shown_name, workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.live_policy import LivePolicy
from portwatch.kernel.names import Names
from portwatch.policy.model import DEFAULT_NAME

MANY_NAMES = 16384


class WorkloadNames:
    """Looks names up by cgroup; containers are called as `book` knows them. `names` are those that
    the kernel's records refer to by number."""

    def __init__(self, live: LivePolicy, names: Names, book: ContainerBook) -> None:
        self._live = live
        self.names = names
        self.book = book

    def shown_name(self, path: str) -> str:
        """What a cgroup is called where no defined workload matches."""
        return shown_name(path, self.book)

    def workload_parts(self, path: str) -> dict[str, Any]:
        """Who a cgroup is, as events have it."""
        return workload_parts(path, self.book)

    def workload_name(self, cgroup: str, uid: int, gid: int, host_network: bool) -> str:
        """What the policy in force calls a process, as the programs do."""
        live = self._live.published
        if live is None:
            return self.shown_name(cgroup)
        compiled = live.compiled
        signature = compiled.cgroup_signature(cgroup, self.book.known(cgroup))
        user, group = compiled.user_classes.get(uid, 0), compiled.group_classes.get(gid, 0)
        row = compiled.subject_row(signature, user, group, host_network)
        return row.workload or self.shown_name(cgroup)

    def forget(self, counted: Iterable[int]) -> None:
        """Drop the names that neither a count, a cgroup nor the policy refers to, once they are
        many: workloads that came and went."""
        if len(self.names) < MANY_NAMES:
            return
        with self._live.writable() as live:
            if live is None:
                return
            published, _ = live
            policy = published.policy
            used = [c.name for c in policy.constraints] + [w.name for w in policy.workloads]
            used += [DEFAULT_NAME, *map(self.shown_name, published.ids)]
            self.names.forget_all_but({*counted, *self.names.known_numbers(used)})
