"""What listens, what the kernel remembers and what a log tells, as binds to learn from."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from learned_ground import NAMES, seen

from portwatch.agent.clock import Clock
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.seen_binds import SeenBinds
from portwatch.cli.whole_file import replace_file
from portwatch.errors import UsageError
from portwatch.kernel.readings import ObservedBind
from portwatch.node.listeners import Listener
from portwatch.node.paths import HostPaths
from portwatch.node.socket_holders import Holder
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.words.addresses import DUAL, Address

SHOP = "/system.slice/shop.service"
HOLDER = Holder(7, "shop", "/opt/shop", None, 1000, 1000, SHOP, "2026-01-02T03:04:05.00Z")
PICKABLE = 40000


def listener(port: int, protocol: str = "tcp", holder: Holder | None = HOLDER) -> Listener:
    """A socket on all addresses; ports from 32768 on are those that the kernel picks from."""
    state = "listen" if protocol == "tcp" else "bound"
    in_range = port >= 32768
    return Listener(
        *(protocol, "ipv6", "::", port, state, True, 1, True, in_range, 9, 1000, SHOP, holder, 0)
    )


def listening(
    *listeners: Listener, asked: tuple[SeenBind, ...] = (), below: str = "/"
) -> list[SeenBind]:
    """What is learned of these."""
    return list(SeenBinds(NAMES, ContainerBook()).listening(listeners, below, asked))


def test_a_listener_is_a_bind_by_whoever_has_it() -> None:
    """With process, account, and since when; it counts no bind."""
    (bind,) = listening(listener(80))
    assert bind == SeenBind(
        *(SHOP, "tcp", 80, DUAL, None, 1000, "alice", 0, HOLDER.since, HOLDER.since, "/opt/shop"),
        listening=True,
    )
    (unseen,) = listening(listener(80, holder=None))
    assert (unseen.cgroup, unseen.program) == (SHOP, "")


def test_a_pickable_port_counts_as_picked_unless_it_was_asked_for() -> None:
    """TCP's becomes `ephemeral`, UDP's is a client's; by the kernel's word it is a number."""
    both = (listener(PICKABLE), listener(PICKABLE, "udp"))
    assert [bind.port for bind in listening(*both)] == [0]
    asked = seen(SHOP, PICKABLE)
    assert [bind.port for bind in listening(*both, asked=(asked,))] == [PICKABLE]


def test_only_what_portwatch_is_attached_to() -> None:
    """Listeners elsewhere are nobody's to learn from."""
    assert listening(listener(80), below="/system.slice")
    assert not listening(listener(80), below="/system.slice/shop")
    assert not listening(listener(80), below="/ci")


def test_the_kernels_memory() -> None:
    """Names for numbers, wall-clock for boot time, the first one's program while it lives, and what
    is gone only counted."""
    found = SeenBinds(NAMES, ContainerBook())
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    address = Address.parse("127.0.0.1").packed
    one = ObservedBind(5, address, os.getpid(), 1000, 80, "mptcp", False, 3, now, now)
    gone = ObservedBind(6, address, 1, 0, 81, "tcp", False, 1, now, now)
    binds = list(found.observed([one, gone], {5: SHOP}, HostPaths(), Clock(), None))
    (bind,) = binds
    assert bind[:4] == (SHOP, "tcp", 80, Address.parse("127.0.0.1"))
    assert (bind.user, bind.times, bind.program) == ("alice", 3, os.readlink("/proc/self/exe"))
    assert found.left_out == {"by workloads that are gone": 1}
    later = time.time() + 60
    assert not list(found.observed([one], {5: SHOP}, HostPaths(), Clock(), later))


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Also behind a link, with its mode; where it cannot be, what was there stays."""
    path, link = tmp_path / "policy.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"old")
    path.chmod(0o604)
    link.symlink_to(path)
    replace_file(link, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o604)
    assert link.is_symlink()
    with pytest.raises(UsageError, match="cannot write"):
        replace_file(tmp_path / "missing.yaml", b"")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.yaml", "policy.yaml"]
