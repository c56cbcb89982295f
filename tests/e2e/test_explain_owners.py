"""Whoever is denied a port is told which ones he may have, and who has the one he asked for."""

from __future__ import annotations

import json

from binder import Bind
from sandbox import Sandbox

POLICY = """\
version: 1
mode: enforce
constraints:
  - {{name: etcd, except: {{unit: etcd.service}}, deny: [catalog:etcd]}}
  - {{name: here, for: {{cgroup: "{home}"}}, addresses: [loopback], allow: [28200-28209/tcp]}}
"""


def test_whose_a_denied_port_is(sandbox: Sandbox) -> None:
    """A denied port comes with its name, whom the policy keeps it for, and what may be had."""
    policy = sandbox.policy(POLICY.format(home=sandbox.path))
    asked = ("--cgroup", sandbox.path, "--port", "2379/tcp")
    words = sandbox.run("explain", policy, *asked)
    assert words.returncode == 1
    lines = words.stdout.splitlines()
    assert f"  kept for unit etcd.service by etcd ({policy}:4)" in lines
    assert any(line.startswith("2379/tcp: etcd's client and peer ports") for line in lines)
    assert lines[-3:] == [
        "this workload may bind, of tcp",
        "  on 0.0.0.0: nothing",
        "  on loopback: 28200-28209",
    ]
    facts = json.loads(sandbox.run("explain", policy, *asked, "--json").stdout)
    assert facts["owners"] == [
        {"constraint": "etcd", "workloads": ["unit etcd.service"], "kept": True}
    ]
    assert facts["may_bind"] == [
        {"addresses": ["0.0.0.0"], "ports": []},
        {"addresses": ["loopback"], "ports": ["28200-28209/tcp"]},
    ]
    assert facts["catalog"][0] == "etcd"


def test_who_has_a_denied_port_now(sandbox: Sandbox) -> None:
    """A denied port that somebody has now comes with the process; one that is free, or allowed,
    with none."""
    binder = sandbox.binder(own_network=False)
    assert binder.answer(Bind(port=28210, listen=True, hold=True)).said == "ok"
    policy = sandbox.policy(POLICY.format(home=sandbox.path))
    asked = ("--cgroup", sandbox.path, "--address", "127.0.0.1", "--json", "--port")
    (holder,) = json.loads(sandbox.run("explain", policy, *asked, "28210").stdout)["holders"]
    assert holder["process"]["pid"] == binder.pid
    assert holder["workload"]["cgroup"] == sandbox.path
    assert "holders" not in json.loads(sandbox.run("explain", policy, *asked, "28211").stdout)
    allowed = json.loads(sandbox.run("explain", policy, *asked, "28200").stdout)
    assert allowed["verdict"] == "allowed"
    assert allowed.keys().isdisjoint({"holders", "owners", "may_bind"})
    words = sandbox.run("explain", policy, *asked[:4], "--port", "28210").stdout
    assert f"[{binder.pid}] of {sandbox.path}, on 127.0.0.1 since " in words


def test_many_constraints_are_told_in_short(sandbox: Sandbox) -> None:
    """Of many constraints those that say something of the bind are shown, the rest counted."""
    quiet = "".join(f"  - {{name: c{n}, deny: [{1000 + n}]}}\n" for n in range(50))
    policy = sandbox.policy(
        "version: 1\nmode: enforce\nconstraints:\n" + quiet + "  - {name: last, deny: [28212]}\n"
    )
    lines = sandbox.run("explain", policy, "--port", "28212").stdout.splitlines()
    assert lines[1] == "  … 50 constraints that say nothing of it"
    assert lines[2].startswith("  51. last")
    steps = json.loads(sandbox.run("explain", policy, "--port", "28212", "--json").stdout)["steps"]
    assert len(steps) == 51
