"""What this machine was seen to bind: the kernel's memory of it, what listens, and event logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from portwatch.agent.clock import Clock, iso
from portwatch.agent.identity.containers import ContainerBook
from portwatch.kernel.readings import ObservedBind
from portwatch.node.listeners import Listener
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable, Sighting
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.replay.bind import NOBODY, RecordedBind
from portwatch.policy.words.account_names import AccountNames
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.ports import judged_as


@dataclass
class SeenBinds:
    """Gathers binds that were let through; `left_out` says in a few words what was not taken, and
    how many kinds of bind that are."""

    accounts: AccountNames
    book: ContainerBook
    left_out: dict[str, int] = field(default_factory=dict)

    def observed(
        self,
        observed: Iterable[ObservedBind],
        paths: Mapping[int, str],
        host: HostPaths,
        clock: Clock,
        since_seconds: float | None,
    ) -> Iterator[SeenBind]:
        """What the kernel remembers; `paths`: of the cgroups that there are."""
        processes = ProcessTable(host)
        offset = clock.wall_ns() - clock.boot_ns()
        for one in observed:
            path = paths.get(one.cgroup)
            if since_seconds is not None and (one.last_ns + offset) / 1e9 < since_seconds:
                continue
            if path is None:
                self._leave("by workloads that are gone")
                continue
            facts = processes.describe(Sighting(one.pid, "", one.first_ns))
            yield SeenBind(
                path,
                judged_as(one.protocol),
                one.port,
                DUAL if one.dual else Address.from_packed(one.address),
                self.book.known(path),
                one.uid,
                self.accounts.user(one.uid),
                one.count,
                iso(one.first_ns + offset),
                iso(one.last_ns + offset),
                facts.exe or "",
            )

    def listening(
        self, listeners: Iterable[Listener], below: str, observed: Iterable[SeenBind]
    ) -> Iterator[SeenBind]:
        """What listens in that cgroup and below. A port of the range that the kernel picks from is
        taken for one that it picked, unless it was observed to be asked for; and of UDP for a
        client's, which needs no leave."""
        asked = {(bind.cgroup, bind.protocol, bind.port) for bind in observed}
        for one in listeners:
            holder = one.holder
            path = holder.cgroup if holder else one.made_in
            if path is None or not f"{path}/".startswith(f"{below.rstrip('/')}/"):
                continue
            is_picked = one.in_local_range and (path, one.protocol, one.port) not in asked
            if is_picked and one.state == "bound":
                continue
            uid = holder.uid if holder else one.uid
            yield SeenBind(
                path,
                one.protocol,
                0 if is_picked else one.port,
                DUAL if one.dual else _address(one.address),
                self.book.known(path),
                uid,
                self.accounts.user(uid),
                last=holder.since if holder else "",
                first=holder.since if holder else "",
                program=(holder.exe or holder.comm) if holder else "",
                listening=True,
                host_network=one.is_host_network,
            )

    def logged(self, binds: Iterable[RecordedBind]) -> Iterator[SeenBind]:
        """What an event log tells of."""
        for one in binds:
            if one.verdict == "denied":
                self._leave("that were denied")
            elif one.cgroup is None or one.endpoint is None:
                continue  # the rest of a burst that is there already, or of nobody known
            else:
                uid = None if one.uid == NOBODY else one.uid
                yield SeenBind(
                    one.cgroup,
                    one.protocol,
                    0 if one.endpoint.picked else one.port,
                    one.endpoint.address,
                    one.container,
                    uid,
                    None if uid is None else self.accounts.user(uid),
                    one.times,
                    one.time,
                    one.time,
                    one.program,
                    host_network=one.host_network,
                )

    def _leave(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1


@lru_cache(4096)
def _address(text: str) -> Address:
    return Address.parse(text)
