"""The package was purged: nothing of it is left."""

from __future__ import annotations

import json
from pathlib import Path

from unit import Unit, run

LEFT = ("/etc/portwatch", "/etc/default/portwatch", "/usr/lib/portwatch", "/usr/bin/portwatch")


def test_nothing_is_attached() -> None:
    """No program is on the cgroups' bind hooks, no pin is there, and every port is free again."""
    shown = run("bpftool", "--json", "cgroup", "show", "/sys/fs/cgroup").stdout.strip()
    types = [one["attach_type"] for one in json.loads(shown or "[]")]
    assert [one for one in types if "bind" in one or "sock_ops" in one] == []
    assert not Path("/sys/fs/bpf/portwatch").exists()
    stranger = Unit("stranger.service")
    assert stranger.call("start") == 0


def test_no_file_is_left() -> None:
    """Neither files nor sockets nor a state of the unit."""
    found = [path for path in LEFT if Path(path).exists()]
    for folder in ("/etc", "/lib/systemd", "/var/lib", "/run", "/usr"):
        names = run("find", folder, "-xdev", "-name", "*portwatch*").stdout.split()
        found += [name for name in names if not name.startswith("/var/lib/apt/")]
    assert found == []


def test_no_unit_is_left() -> None:
    """systemd knows none of its units, running or failed."""
    assert (
        run("systemctl", "list-units", "--all", "--plain", "--no-legend", "portwatch*").stdout == ""
    )
