"""Kernel's paths of cgroups, in a cgroup namespace."""

from __future__ import annotations

from pathlib import Path

from portwatch.node.cgroups import CgroupTree
from portwatch.node.subtree_paths import SubtreePaths


def made(root: Path, path: str) -> int:
    """A directory in place of a cgroup: its id."""
    (root / path).mkdir(parents=True)
    return (root / path).stat().st_ino


def test_the_way_is_learned_from_what_is_found(tmp_path: Path) -> None:
    """The first cgroup that is here tells what the kernel's paths begin with; then all are told,
    also those that have gone."""
    number = made(tmp_path, "system.slice/a.service")
    paths = SubtreePaths(CgroupTree(tmp_path))
    assert paths.ours("/lxc/one/system.slice/gone.service", number + 1000) is None
    assert paths.ours("/lxc/one/system.slice/a.service", number) == "/system.slice/a.service"
    assert paths.ours("/lxc/one/system.slice/gone.service", 0) == "/system.slice/gone.service"


def test_others_are_not_ours(tmp_path: Path) -> None:
    """A cgroup beside our root is none of ours, even with a path that is also here."""
    number = made(tmp_path, "system.slice/a.service")
    paths = SubtreePaths(CgroupTree(tmp_path))
    paths.ours("/lxc/one/system.slice/a.service", number)
    for other in ("/lxc/two/system.slice/a.service", "/lxc/one2", "/system.slice/a.service"):
        assert paths.ours(other, number + 1) is None
