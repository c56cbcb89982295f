"""What is read of /proc and /sys, from fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from portwatch.errors import KernelError
from portwatch.node.cgroups import CgroupTree, cgroup_of_process, find_cgroup2
from portwatch.node.paths import HostPaths

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
UNIFIED = "24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
SUBTREE_FIRST = """\
50 23 0:22 /pod /mnt/pod rw - cgroup2 cgroup2 rw
51 23 0:22 / /mnt/all rw - cgroup2 cgroup2 rw
"""
WITH_SPACE = "24 23 0:22 / /mnt/c\\040g rw - cgroup2 cgroup2 rw\n"


def host(tmp_path: Path, mountinfo: str) -> HostPaths:
    """A /proc whose only content is this mountinfo."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(mountinfo)
    return HostPaths(proc=tmp_path)


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (HYBRID, "/sys/fs/cgroup/unified"),
        (UNIFIED, "/sys/fs/cgroup"),
        (SUBTREE_FIRST, "/mnt/all"),
        (WITH_SPACE, "/mnt/c g"),
    ],
)
def test_finds_cgroup2_wherever_it_is(tmp_path: Path, mountinfo: str, expected: str) -> None:
    """The whole hierarchy's mount point is found, hybrid mode and odd names included."""
    assert find_cgroup2(host(tmp_path, mountinfo)) == Path(expected)


def test_whole_hierarchy_is_told_by_its_root(tmp_path: Path) -> None:
    """In a container its own cgroup looks like the root; the machine's, mounted too, is taken."""
    machine = find_cgroup2(HostPaths())
    own = "50 23 0:22 / /mnt/own rw - cgroup2 cgroup2 rw\n"
    mounted = f"51 23 0:22 /../.. {machine} ro - cgroup2 cgroup2 rw\n"
    assert find_cgroup2(host(tmp_path, own + mounted)) == machine


def test_no_cgroup2_says_what_to_do(tmp_path: Path) -> None:
    """Without cgroup2 the error names the command that mounts it."""
    with pytest.raises(KernelError) as caught:
        find_cgroup2(host(tmp_path, HYBRID.splitlines()[0]))
    assert "mount -t cgroup2" in caught.value.hint


def test_a_scan_names_every_cgroup_with_its_inode(tmp_path: Path) -> None:
    """Paths begin at the hierarchy's root; ids are inode numbers; files are no cgroups."""
    (tmp_path / "system.slice" / "a.service").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("")
    found = CgroupTree(tmp_path).scan()
    assert found == {
        "/": tmp_path.stat().st_ino,
        "/system.slice": (tmp_path / "system.slice").stat().st_ino,
        "/system.slice/a.service": (tmp_path / "system.slice/a.service").stat().st_ino,
    }


def test_a_cgroup_path_is_read_from_the_unified_line(tmp_path: Path) -> None:
    """Of a process in hybrid mode the line of hierarchy 0 counts, also once the cgroup is gone."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text("4:memory:/x\n0::/a/b (deleted)\n")
    assert cgroup_of_process(HostPaths(tmp_path), 7) == "/a/b"
    assert cgroup_of_process(HostPaths(tmp_path), 8) is None
