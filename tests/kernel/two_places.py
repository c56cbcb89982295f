"""A cgroup that may not bind the port and one that may, for the tests of whose bind it is."""

from __future__ import annotations

from pathlib import Path

from binder import Binder
from guard import Guard

PORT = 9000
TCP = ("socket", "tcp", "ipv4")
BIND = ("bind", "127.0.0.1", PORT)
LISTEN = ("listen",)

POLICY = """
version: 1
mode: enforce
errno: EPERM
constraints:
  - {name: bound, for: {cgroup: "/bound/**"}, deny: [9000]}
  - {name: as-alice, for: {user: alice}, deny: [9001]}
  - {name: at-home, network: host, deny: [9002]}
"""
BOUND = ("bound", "/bound", PORT, "tcp", "denied")


def make_places(guard: Guard, binder: Binder) -> tuple[Path, Path]:
    """The two, under that policy; the binder is in the free one."""
    bound, free = guard.make("/bound"), guard.make("/free")
    guard.publish(POLICY)
    binder.move(free)
    return bound, free


def assert_told(guard: Guard, task: Path, maker: Path, pid: int) -> None:
    """One denial, told with the task's cgroup and process and the socket maker's cgroup."""
    assert list(guard.violations.values()) == [1]
    (event,) = guard.events()
    assert (event.cgroup, event.socket_cgroup) == (task.stat().st_ino, maker.stat().st_ino)
    assert (event.pid, event.port) == (pid, PORT)
