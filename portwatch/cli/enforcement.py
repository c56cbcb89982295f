"""What the commands that touch the kernel share: opening it, loading it, taking it over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from portwatch.agent.cgroup_keeper import FollowsCgroups
from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.identity.container_asking import ask_now
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.in_force import policy_in_kernel
from portwatch.agent.last_good import remembered_policy
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.publisher import Publisher, now_stored
from portwatch.errors import KernelError, NotLoaded, PinMismatch, PortwatchError, PrivilegeMissing
from portwatch.kernel.loading import Loading, is_current, remove
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import OLDEST_KERNEL, kernel_version
from portwatch.kernel.slots import Slots
from portwatch.kernel.stored_policy import StoredPolicy
from portwatch.node.cgroups import CgroupTree, find_cgroup2
from portwatch.node.engines.sockets import EngineSocket, parse_engine_socket
from portwatch.node.netns import host_network
from portwatch.node.paths import HostPaths
from portwatch.policy.tables.compile import compile_policy

HOST = HostPaths()


def require_root() -> None:
    """PrivilegeMissing for anybody but root, before anything is touched; KernelError for a kernel
    that is too old to try."""
    if os.geteuid() != 0:
        raise PrivilegeMissing(
            "loading BPF programs needs root", hint="run it with sudo, or as a systemd service"
        )
    if kernel_version() < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        raise KernelError(
            f"Linux {os.uname().release} is too old: portwatch needs {wanted} or later",
            hint="portwatch doctor lists every need",
        )


def cgroup_tree() -> CgroupTree:
    """This machine's cgroup2; KernelError where there is none."""
    return CgroupTree(find_cgroup2(HOST))


def begin_loading(pin_dir: PinDir, tree: CgroupTree, cgroup: Path, collisions: bool) -> Loading:
    """Compile ahead for `cgroup`; nothing is touched until finish()."""
    tree.path_below(cgroup)
    return Loading(pin_dir, cgroup, collisions)


class LoadedAlready:
    """In place of Loading, by another process."""

    def finish(self) -> None:
        """There is nothing left to do."""


@contextmanager
def loaded_already(
    pin_dir: PinDir, tree: CgroupTree, cgroup: Path, collisions: bool
) -> Iterator[LoadedAlready]:
    """Give up attaching for the rest of this process's life; NotLoaded where that is too early,
    since not everything is attached to `cgroup` by this version's loader."""
    from portwatch.kernel.bpf_commands import renounce_attaching

    tree.path_below(cgroup)
    if not is_current(pin_dir, cgroup, collisions):
        raise NotLoaded(
            f"what is at {pin_dir.path} is not all that this version attaches to {cgroup}",
            hint="portwatch load, with the same --pin-dir, --cgroup and --collisions; "
            "or portwatch run without --no-load",
        )
    renounce_attaching()
    yield LoadedAlready()


def load_or_keep(
    source: PolicySource, pin_dir: PinDir
) -> tuple[LoadedPolicy, PortwatchError | None]:
    """The policy of the files; where they are bad the last good one, and what is wrong with them:
    the one in force, or, after a reboot, what was kept of the files."""
    try:
        loaded = source.load()
        compile_policy(loaded.policy, accounts_of(loaded.policy))  # whether it fits
        return loaded, None
    except PortwatchError as err:
        stored = _last_good(pin_dir)
        if stored is None:
            raise
        try:
            return LoadedPolicy.parse(stored.sources, stored.origin, stored.mode), err
        except PortwatchError:  # an older version's, which is none any more
            raise err from None


def _last_good(pin_dir: PinDir) -> StoredPolicy | None:
    try:
        return policy_in_kernel(pin_dir)[1]
    except PortwatchError:
        return remembered_policy(pin_dir.path)


@contextmanager
def removed_on_failure(pin_dir: PinDir) -> Iterator[None]:
    """Where the body fails with no policy in force, its pins go again; what was in force stays."""
    try:
        yield
    except BaseException:
        if _nothing_in_force(pin_dir):
            remove(pin_dir)
        raise


def _nothing_in_force(pin_dir: PinDir) -> bool:
    try:
        with closing(Slots(pin_dir)) as slots:
            return slots.generation == 0
    except NotLoaded:
        return True
    except PinMismatch:
        return False


def parse_engines(texts: Sequence[str]) -> list[EngineSocket]:
    """The sockets that `--engine` names; UsageError."""
    return [parse_engine_socket(text) for text in texts]


@contextmanager
def open_publisher(
    pin_dir: PinDir,
    tree: CgroupTree,
    book: ContainerBook,
    followers: Sequence[FollowsCgroups] = (),
) -> Iterator[Publisher]:
    """The publisher of a pin directory; NotLoaded, PinMismatch."""
    publisher = Publisher(pin_dir, tree, host_network(HOST), book, followers)
    try:
        yield publisher
    finally:
        publisher.close()


def publish(
    pin_dir: PinDir, tree: CgroupTree, loaded: LoadedPolicy, engines: Sequence[EngineSocket]
) -> int:
    """Swap in a policy, for what the engines say of the containers there are; its generation."""
    book = ask_now(tree, HOST, tree.scan(), engines)
    with open_publisher(pin_dir, tree, book) as publisher:
        stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
        return publisher.publish(loaded.policy, stored, accounts_of(loaded.policy)).generation
