"""What a lint looks at on this machine, gathered once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.container_asking import ask_now, names_containers
from portwatch.agent.identity.containers import ContainerBook
from portwatch.errors import KernelError
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import ObservedBind, Readings
from portwatch.node.accounts import AccountTable
from portwatch.node.cgroups import CgroupTree, find_cgroup2
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.listeners import Listener, find_listeners
from portwatch.node.namespaces import local_ports
from portwatch.node.paths import HostPaths
from portwatch.node.published_ports import PublishedPort
from portwatch.node.reserved_ports import reserved_ports
from portwatch.node.unit_files import unit_files
from portwatch.policy.lint.local_ports import LocalPorts
from portwatch.policy.model import Policy


@dataclass(frozen=True)
class Machine:
    """What is here now. `cgroups` are path → id, empty where there is no cgroup2; `not_seen` says
    in one sentence each what could not be looked at."""

    cgroups: dict[str, int]
    units: set[str]
    accounts: AccountTable
    book: ContainerBook
    ports: LocalPorts
    listeners: list[Listener] = field(default_factory=list)
    observed: list[ObservedBind] = field(default_factory=list)
    not_seen: list[str] = field(default_factory=list)
    published: list[PublishedPort] = field(default_factory=list)


def look_around(
    policy: Policy,
    pin_dir: Path,
    engines: Sequence[EngineSocket] = (),
    host: HostPaths | None = None,
) -> Machine:
    """Look at this machine as far as one may. Engines are asked, for a second at most, where the
    policy names containers; the kernel is read where portwatch is loaded at `pin_dir`."""
    host = host or HostPaths()
    not_seen: list[str] = []
    cgroups: dict[str, int] = {}
    book = ContainerBook()
    try:
        tree = CgroupTree(find_cgroup2(host))
        cgroups = tree.scan()
        if names_containers(policy):
            book = ask_now(tree, host, cgroups, engines)
    except KernelError as err:
        not_seen.append(f"the workloads that run here were not looked at: {err.message}")
    listeners: list[Listener] = []
    observed: list[ObservedBind] = []
    published: list[PublishedPort] = []
    if os.geteuid() != 0:
        not_seen.append("what listens here was not looked at: that needs root")
    else:
        listing = find_listeners(host)
        listeners = listing.listeners
        published = listing.published
        not_seen += [f"what listens in {text}" for text in listing.not_seen]
        not_seen += listing.unread
        observed = _observed(pin_dir)
    return Machine(
        cgroups,
        unit_files(),
        accounts_of(policy),
        book,
        local_ports_here(host),
        listeners,
        observed,
        not_seen,
        published,
    )


def local_ports_here(host: HostPaths) -> LocalPorts:
    """Where the kernel of this machine picks ports for clients."""
    return LocalPorts(*local_ports(host), tuple(reserved_ports(host)))


def _observed(pin_dir: Path) -> list[ObservedBind]:
    """The binds seen lately; none where portwatch is not loaded, or as another version."""
    try:
        readings = Readings(PinDir(pin_dir))
    except KernelError:
        return []
    try:
        return readings.observed()
    finally:
        readings.close()
