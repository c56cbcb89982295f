"""An agent that loads nothing (`run --no-load`), as the systemd unit has it, and pins that move."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from product import eventually, run_command
from sandbox import Sandbox, denying

TOO_LARGE = "version: 1\nmode: enforce\nconstraints:\n" + "".join(
    f"  - {{name: c{n}, deny: [{n + 1}-{n + 40}], allow: [{n + 41}-{n + 80}]}}\n"
    for n in range(1, 60_000, 60)
)
"""It parses, and has more classes of ports than there is room for."""


def test_serves_what_load_attached(sandbox: Sandbox) -> None:
    """With --no-load the agent serves what is loaded, cannot attach, and leaves all at its end."""
    policy = sandbox.policy(denying(9000))
    sandbox.load(policy)
    programs = sandbox.program_ids()
    agent = sandbox.agent(policy, "--no-load")
    status = Path(f"/proc/{agent.pid}/status").read_text()
    assert "Seccomp:\t2\n" in status
    assert agent.end() == 0
    assert sandbox.program_ids() == programs
    assert sandbox.binder().bind(9000) == "EACCES"


def test_nothing_loaded_is_an_error(sandbox: Sandbox) -> None:
    """With --no-load and nothing loaded, or not all of it, the status is 3 and says what to do."""
    policy = sandbox.policy(denying(9000))
    nothing = sandbox.run("run", *sandbox.run_options(policy, "--no-load")[:2], "--no-load")
    assert nothing.returncode == 3
    assert "hint: portwatch load" in nothing.stderr
    sandbox.load(policy)
    (sandbox.pin_dir / "links" / "bind6").unlink()
    part = sandbox.run("run", "--cgroup", sandbox.cgroup, "--no-load")
    assert part.returncode == 3
    assert "is not all that this version attaches" in part.stderr


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("version: 1\nconstraint: []\n", "policy.yaml:2:1"),
        (TOO_LARGE, "too much for the kernel's tables"),
    ],
    ids=["typo", "too large"],
)
def test_a_bad_policy_leaves_the_one_in_force(sandbox: Sandbox, bad: str, said: str) -> None:
    """`load --keep-policy` and `run --no-load` go on with the policy in force and say why; where
    there is none, a bad policy is status 2."""
    policy = sandbox.policy(denying(9000))
    options = ("--policy", policy, "--cgroup", sandbox.cgroup, "--keep-policy")
    policy.write_text(bad)
    assert sandbox.run("load", *options).returncode == 2
    assert not sandbox.pin_dir.exists()
    sandbox.policy(denying(9000))
    assert sandbox.run("load", *options).returncode == 0
    policy.write_text(bad)
    done = sandbox.run("load", *options)
    assert done.returncode == 0
    assert said in done.stderr
    assert "the last good policy stays" in done.stderr
    agent = sandbox.agent(policy, "--no-load")
    assert sandbox.binder().bind(9000) == "EACCES"
    assert agent.metric("portwatch_policy_last_load_successful") == 0
    assert agent.end() == 0


def test_a_bad_policy_after_a_reboot(sandbox: Sandbox) -> None:
    """With no policy in the kernel `load --keep-policy` takes the last good version of the files,
    which the agent kept as it came; what `apply` put in force is none. `unload` forgets it."""
    policy = sandbox.policy(denying(9000))
    options = ("--policy", policy, "--cgroup", sandbox.cgroup, "--keep-policy")
    assert sandbox.run("load", *options).returncode == 0
    agent = sandbox.agent(policy, "--no-load")
    before = sandbox.kept_policy.read_bytes()
    sandbox.policy(denying(9001))
    eventually(lambda: sandbox.kept_policy.read_bytes() != before, what="it is kept")
    policy.write_text("version: 1\nconstraint: []\n")
    eventually(lambda: agent.metric("portwatch_policy_last_load_successful") == 0)
    other = sandbox.policy(denying(9002), "other.yaml")
    assert sandbox.run("apply", other).returncode == 0
    assert agent.end() == 0
    sandbox.lose_pins()
    binder = sandbox.binder()
    assert binder.bind(9001) == "ok"
    assert sandbox.run("load", *options[:-1]).returncode == 2
    assert binder.bind(9001) == "ok"
    done = sandbox.run("load", *options)
    assert done.returncode == 0
    assert f"{policy}:2:1" in done.stderr
    assert "the last good policy stays" in done.stderr
    assert [binder.bind(port) for port in (9000, 9001, 9002)] == ["ok", "EACCES", "ok"]
    agent = sandbox.agent(policy, "--no-load")
    assert agent.metric("portwatch_policy_last_load_successful") == 0
    assert agent.end() == 0
    assert sandbox.run("unload").returncode == 0
    assert sandbox.run("load", *options).returncode == 2


def test_an_agent_that_may_not_heal_ends(sandbox: Sandbox) -> None:
    """With --no-load a detached hook is told, and ends the agent with status 3: its supervisor has
    the loader run. `load` then attaches again, over the same counts."""
    policy = sandbox.policy(denying(9000))
    sandbox.load(policy)
    agent = sandbox.agent(policy, "--no-load")
    assert sandbox.binder().bind(9000) == "EACCES"
    link = str(sandbox.pin_dir / "links" / "bind4")
    assert run_command(["bpftool", "link", "detach", "pinned", link]).returncode == 0
    assert agent.wait(30) == 3
    assert "bind4 was detached" in agent.log
    assert {"kind": "hook", "hook": "bind4", "result": "gone"}.items() <= agent.events[-1].items()
    sandbox.load(policy)
    assert sandbox.binder().bind(9000) == "EACCES"
    assert sandbox.status()["binds"]["denied"] == 2


def test_the_emergency_exit_is_not_fought(sandbox: Sandbox) -> None:
    """`rm -r` of the pins ends enforcement and the running agent, which restores nothing."""
    agent = sandbox.agent(sandbox.policy(denying(9000)), "--keep")
    shutil.rmtree(sandbox.pin_dir)
    assert agent.wait(30) == 4
    assert sandbox.binder().bind(9000) == "ok"
    assert not sandbox.pin_dir.exists()


def test_enforcement_outlives_the_mount_of_bpffs(sandbox: Sandbox) -> None:
    """Where the agent's bpffs is unmounted, everything stays attached, and is pinned again, under
    the same agent, once one is mounted there."""
    bpffs = sandbox.folder / "bpffs"
    bpffs.mkdir()
    pins = bpffs / "portwatch"
    policy = sandbox.policy(denying(9000))
    assert run_command(["mount", "-t", "bpf", "bpf", str(bpffs)]).returncode == 0
    sandbox.stack.callback(run_command, ["umount", "--lazy", str(bpffs)])
    agent = sandbox.agent(policy, "--pin-dir", pins)
    assert run_command(["umount", str(bpffs)]).returncode != 0, "it is in use"
    assert run_command(["umount", "--lazy", str(bpffs)]).returncode == 0
    eventually(lambda: f"{bpffs} was unmounted" in agent.log)
    binder = sandbox.binder()
    assert binder.bind(9000) == "EACCES"
    assert agent.page("/readyz")[0] == b"ready\n"
    assert run_command(["mount", "-t", "bpf", "bpf", str(bpffs)]).returncode == 0
    eventually(lambda: "bpffs is in place again" in agent.log, 30)
    assert {one.name for one in (pins / "links").iterdir()} >= {"bind4", "bind6"}
    assert binder.bind(9000) == "EACCES"
    assert agent.end() == 0
    assert not pins.exists()
    assert binder.bind(9000) == "ok"
