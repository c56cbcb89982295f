"""`diff`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from product import portwatch
from sandbox import Sandbox, denying

OLD = """\
version: 1
mode: enforce
constraints:
  - {name: etcd, except: {unit: etcd.service}, deny: [2379-2380]}
  - {name: shop, for: {unit: shop-*.service}, addresses: [loopback], allow: [8000-8099/tcp]}
"""
NEW = OLD.replace("8099", "8100").replace("name: etcd,", "name: etcd, mode: record,")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """The paths of OLD and NEW."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD)
    new.write_text(NEW)
    return str(old), str(new)


def test_what_changes_is_a_table(files: tuple[str, str]) -> None:
    """Each change has a line under its direction, and the last line counts them; exit status 1."""
    done = portwatch("diff", *files)
    assert done.returncode == 1, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    allowed = lines.index("newly allowed")
    assert lines.index("newly recorded") < allowed
    shop = "unit shop-*.service 8100/tcp loopback denied by shop allowed"
    assert shop in lines[allowed:]
    assert any(line.startswith("everyone but unit etcd.service") for line in lines[:allowed])
    assert "newly recorded" in lines[-1]
    assert "1 newly allowed" in lines[-1]


def test_listeners_are_shown_on_request(files: tuple[str, str]) -> None:
    """Without --all, listeners on ports that the kernel picked are only counted."""
    few, all_ = portwatch("diff", *files), portwatch("diff", "--all", *files)
    assert "listening)" not in few.stdout
    assert "listeners on ports that the kernel picked" in few.stdout
    assert "8100/tcp (picked, and listening)" in all_.stdout


def test_json_has_every_region(files: tuple[str, str]) -> None:
    """`--json` tells who, where, before, after and an example that explain judges as it says."""
    done = portwatch("diff", "--json", *files)
    assert done.returncode == 1
    facts = json.loads(done.stdout)
    assert facts["differs"] is facts["complete"] is True
    shop = next(
        region
        for region in facts["regions"]
        if region["after"] == {"verdict": "allowed"} and region["endpoints"][0]["kind"] == "asked"
    )
    assert shop["before"] == {"verdict": "denied", "constraint": "shop", "errno": "EACCES"}
    assert shop["workloads"][0]["matching"] == [{"unit": ["shop-*.service"]}]
    where = {"protocols": ["tcp"], "ports": ["8100"], "addresses": ["loopback"]}
    assert shop["endpoints"] == [{"kind": "asked", **where, "not_addresses": []}]
    bind, who = shop["example"]["bind"], shop["example"]["workload"]
    asked = ["--port", f"{bind['port']}/tcp", "--address", bind["address"]]
    for path, verdict in zip(files, ("denied", "allowed"), strict=True):
        told = portwatch("explain", path, "--cgroup", who["cgroup"], *asked, "--json")
        assert json.loads(told.stdout)["verdict"] == verdict


def test_no_difference(files: tuple[str, str]) -> None:
    """Two policies that decide alike: exit status 0, and a line that says so."""
    done = portwatch("diff", files[0], files[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no difference: the two policies decide alike everywhere\n"
    facts = json.loads(portwatch("diff", "--json", files[0], files[0]).stdout)
    whole = {"complete": True, "verdicts_complete": True}
    assert facts == {"differs": False, **whole, "regions": []}


def test_bad_policies(files: tuple[str, str], tmp_path: Path) -> None:
    """A policy with errors, one that is missing and a third one exit with 2, and say why."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nconstrains: []\n")
    for paths, why in (
        ((files[0], str(bad)), "bad.yaml:2:1"),
        ((str(tmp_path / "none.yaml"), files[0]), "none.yaml"),
        ((*files, files[0]), "diff OLD NEW"),
        ((), "OLD"),
    ):
        done = portwatch("diff", *paths)
        assert done.returncode == 2
        assert why in done.stderr


def test_without_old_the_policy_in_the_kernel_is_compared(sandbox: Sandbox) -> None:
    """Whoever is about to apply a policy sees what that would change."""
    sandbox.load(sandbox.policy(denying(9)))
    same = sandbox.policy(denying(9), "same.yaml")
    assert sandbox.run("diff", same).returncode == 0
    done = sandbox.run("diff", sandbox.policy("version: 1\n", "other.yaml"))
    assert done.returncode == 1
    assert "newly allowed" in done.stdout


def test_without_old_and_without_a_policy_in_the_kernel(
    files: tuple[str, str], tmp_path: Path
) -> None:
    """With nothing to compare with, it says how to name two policies."""
    done = portwatch("diff", "--pin-dir", str(tmp_path / "none"), files[0])
    assert done.returncode == 3
    assert "portwatch diff OLD NEW" in done.stderr
