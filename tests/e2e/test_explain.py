"""`explain` says what the kernel does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from binder import Binder
from product import portwatch
from sandbox import Sandbox
from scratch import remove_cgroup

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths


@pytest.mark.parametrize("where", ["file", "kernel"])
def test_explain(shared: Sandbox, where: str) -> None:
    """`explain` says of each bind what the kernel does, from a file and from the kernel."""
    policy = shared.policy(
        "version: 1\nmode: enforce\nerrno: EPERM\nconstraints:\n"
        "- {name: first, deny: [9001/udp], reason: udp is not for us}\n"
        f'- {{name: second, for: {{cgroup: "{shared.path}"}}, allow: [9002-9003]}}\n'
        "- {name: tried, mode: record, deny: [9002/tcp]}\n"
    )
    shared.load(policy)
    binder = shared.binder()
    source = [policy] if where == "file" else []
    for port, protocol in ((9001, "udp"), (9001, "tcp"), (9002, "tcp"), (9003, "udp")):
        said = binder.bind(port, protocol=protocol)
        asked = ["--pid", binder.pid, "--port", f"{port}/{protocol}", "--network", "other"]
        done = shared.run("explain", *source, *asked, "--json")
        facts = json.loads(done.stdout)
        assert said == facts.get("errno", "ok"), (port, protocol)
        assert done.returncode == (0 if facts["verdict"] == "allowed" else 1)
    words = shared.run("explain", *source, "--cgroup", shared.path, "--port", "9001/udp").stdout
    assert "denied by first: bind() fails with EPERM" in words
    assert "reason: udp is not for us" in words
    other = shared.run("explain", *source, "--cgroup", "/elsewhere", "--port", "9004")
    assert other.returncode == 0
    assert "allowed" in other.stdout


def test_explain_by_unit_user_and_group(tmp_path: Path) -> None:
    """`explain` takes a unit, a user and a group, by name or number, of anybody's policy."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\nmode: enforce\nconstraints:\n"
        "- {name: unit, for: {unit: shop.service}, deny: [1001]}\n"
        "- {name: user, for: {user: nobody}, deny: [1002]}\n"
        "- {name: group, for: {group: daemon}, deny: [1003]}\n"
        "- {name: host, network: host, deny: [1004]}\n"
        "- {name: any-port, for: {unit: eph.service}, deny: [ephemeral]}\n"
    )
    for options, constraint in (
        ("--unit shop.service --port 1001", "unit"),
        ("--unit shop.service --port 1002", None),
        ("--user nobody --port 1002", "user"),
        ("--user 65534 --port 1002", "user"),
        ("--group daemon --port 1003/sctp", "group"),
        ("--port 1004 --network host", "host"),
        ("--port 1004 --network other", None),
        ("--unit eph.service --port ephemeral", "any-port"),
        ("--port 1001 --address ::1", None),
    ):
        done = portwatch("explain", policy, *options.split(), "--json")
        assert json.loads(done.stdout).get("constraint") == constraint, options
        assert done.returncode == (1 if constraint else 0)


@pytest.fixture
def unit() -> Iterator[Path]:
    """A cgroup that is a system unit's by its path, and by that alone."""
    place = find_cgroup2(HostPaths()) / f"portwatch-e2e-{os.getpid()}.service"
    place.mkdir()
    try:
        yield place
    finally:
        remove_cgroup(place)


def test_explain_a_unit_that_runs(unit: Path, tmp_path: Path) -> None:
    """`explain --unit` answers for the processes that the unit has now: their user and network;
    options say otherwise, and what it does not answer for is noted."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\nmode: enforce\nconstraints:\n"
        f"- {{name: its-user, for: {{unit: {unit.name}, user: 65534}}, network: host, "
        "deny: [1001]}\n"
    )
    asked = ("explain", policy, "--unit", unit.name, "--port", 1001, "--json")
    with closing(Binder(unit, own_network=False)) as binder:
        binder.drop_privileges()
        facts = json.loads(portwatch(*asked).stdout)
        assert (facts["verdict"], facts["constraint"]) == ("denied", "its-user")
        assert facts["cgroup"] == f"/{unit.name}"
        assert "note" not in facts
        assert portwatch(*asked, "--user", "root").returncode == 0
        assert portwatch(*asked, "--network", "other").returncode == 0
        inner = unit / "worker"
        inner.mkdir()
        with closing(Binder(inner)):
            noted = json.loads(portwatch(*asked).stdout)
            assert noted["constraint"] == "its-user"
            assert "run as uid 0, 65534" in noted["note"]
    gone = json.loads(portwatch(*asked).stdout)
    assert gone["verdict"] == "allowed"


def test_explain_a_unit_that_runs_twice(unit: Path, tmp_path: Path) -> None:
    """Where users' managers run units of one name, each has to be asked about by its cgroup; the
    system's own is meant before any of theirs."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nmode: enforce\nconstraints: [{name: c, deny: [1001]}]\n")
    name = f"portwatch-{os.getpid()}.service"
    managers = [unit.with_name(f"user@{os.getpid()}{n}.service") for n in (1, 2)]
    try:
        for manager in managers:
            (manager / "app.slice" / name).mkdir(parents=True)
        done = portwatch("explain", policy, "--unit", name, "--port", 1001)
        assert done.returncode == 2
        assert "runs 2 times" in done.stderr
        assert all(f"--cgroup /{one.name}/app.slice/{name}" in done.stderr for one in managers)
    finally:
        for manager in managers:
            remove_cgroup(manager)
