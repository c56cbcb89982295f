"""`check` tells what is probably not meant, of the policy and of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from binder import Bind
from product import PORTWATCH, portwatch, run_command
from sandbox import Sandbox

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
SHADOWED = """\
version: 1
mode: enforce
constraints:
  - {name: wide, deny: [80-90]}
  - {name: narrow, deny: [85/tcp]}
"""


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A policy with one finding of the pure lints."""
    path = tmp_path / "shadowed.yaml"
    path.write_text(SHADOWED)
    return path


def test_findings(shadowed: Path) -> None:
    """A finding is a line with its place and id, and the remedy below; it fails under --strict."""
    done = portwatch("check", shadowed, "--offline")
    assert (done.returncode, done.stderr) == (0, "")
    first, remedy, summary = done.stdout.splitlines()
    assert first.startswith(f"{shadowed}:5:5: [unreachable-constraint] narrow: it decides nothing")
    assert remedy.startswith("    ")
    assert summary == f"{shadowed}: ok, 2 constraints, mode enforce; 1 finding"
    assert portwatch("check", shadowed, "--offline", "--strict").returncode == 1


def test_findings_as_json(shadowed: Path) -> None:
    """For machines a finding has its place, id, reason and remedy apart."""
    (found,) = json.loads(portwatch("check", shadowed, "--offline", "--json").stdout)["findings"]
    assert (found["file"], found["line"], found["column"]) == (str(shadowed), 5, 5)
    assert found["id"] == "unreachable-constraint"
    assert "wide" in found["reason"]
    assert found["remedy"]


def test_choosing_findings(shadowed: Path) -> None:
    """--select and --ignore choose by id, and name the nearest where there is none such."""
    ignored = portwatch("check", shadowed, "--strict", "--ignore", "unreachable-constraint")
    assert (ignored.returncode, "[" in ignored.stdout) == (0, False)
    others = ["--select", "shared-ports,unused-entry", "--select", "lock-out"]
    assert portwatch("check", shadowed, "--strict", *others).returncode == 0
    wrong = portwatch("check", shadowed, "--select", "unreachable")
    assert wrong.returncode == 2
    assert "did you mean `unreachable-constraint`?" in wrong.stderr


def test_what_listens_now(sandbox: Sandbox) -> None:
    """A socket that listens now and would be refused at its next start is told first of all, at
    the constraint that would refuse it; offline it is not looked for."""
    binder = sandbox.binder()
    answer = binder.answer(Bind(port=28123, listen=True, hold=True))
    assert answer.said == "ok"
    policy = sandbox.policy(
        SHADOWED + f'  - {{name: none, for: {{cgroup: "{sandbox.path}"}}, deny: [28123]}}\n'
    )
    done = sandbox.run("check", policy, "--strict", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    assert [one["id"] for one in found] == ["lock-out", "unreachable-constraint"]
    assert f"(pid {binder.pid})" in found[0]["reason"]
    assert "28123/tcp on 127.0.0.1" in found[0]["reason"]
    assert found[0]["line"] == 6
    offline = json.loads(sandbox.run("check", policy, "--offline", "--json").stdout)
    assert [one["id"] for one in offline["findings"]] == ["unreachable-constraint"]


def test_what_was_seen_to_bind(shared: Sandbox) -> None:
    """What the kernel saw bind, and on loopback only, needs no other address."""
    binder = shared.binder()
    assert binder.bind(28124) == "ok"
    rule = f'{{name: any, for: {{cgroup: "{shared.path}"}}, allow: [28124]}}'
    policy = shared.policy(f"version: 1\nconstraints: [{rule}]\n")
    only = ("--json", "--select", "wildcard-not-needed")
    (found,) = json.loads(shared.run("check", policy, *only).stdout)["findings"]
    assert "28124/tcp was seen on loopback only" in found["reason"]
    assert binder.bind(28124, "0.0.0.0") == "ok"
    assert json.loads(shared.run("check", policy, *only).stdout)["findings"] == []


def test_without_root() -> None:
    """Whoever may not see what listens is told so, and gets the rest."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        policy = folder / "policy.yaml"
        policy.write_text(SHADOWED)
        done = run_command([*NOBODY, PORTWATCH, "check", str(policy), "--strict"])
    assert done.returncode == 1
    assert "[unreachable-constraint]" in done.stdout
    assert done.stderr == (
        "portwatch: note: what listens here was not looked at: that needs root\n"
    )
