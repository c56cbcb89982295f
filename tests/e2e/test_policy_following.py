"""The agent follows its policy: however it is replaced, and never into something bad."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from binder import Binder
from config_map import publish
from product import AgentProcess, Event, eventually
from sandbox import Sandbox, denying

FOLLOWS_SECONDS = 3.0


def followed(binder: Binder, port: int) -> None:
    """The new policy, which denies `port`, is in force soon."""
    eventually(lambda: binder.bind(port) == "EACCES", FOLLOWS_SECONDS, f"port {port} is denied")


def in_force(agent: AgentProcess) -> bool:
    """Whether the agent says that the last load succeeded."""
    return agent.metric("portwatch_policy_last_load_successful") == 1


def told(agent: AgentProcess) -> list[Event]:
    """Its events about policies."""
    return [event for event in agent.events if event["kind"] == "policy"]


def rename_over(path: Path, text: str) -> None:
    """As editors and package managers do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def write_in_place(path: Path, text: str) -> None:
    """As `>` does."""
    path.write_text(text)


def unlink_and_write(path: Path, text: str) -> None:
    """As a careless script does."""
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("replace", [rename_over, write_in_place, unlink_and_write])
def test_file_replaced(shared: Sandbox, replace: Callable[[Path, str], None]) -> None:
    """A policy file that is replaced comes into force, and the event and metrics say so."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    generation = agent.metric("portwatch_policy_generation")
    binder = shared.binder()
    assert binder.bind(9002) == "ok"
    replace(policy, denying(9002))
    followed(binder, 9002)
    assert binder.bind(9001) == "ok"
    eventually(lambda: agent.metric("portwatch_policy_generation") == generation + 1)
    loaded = eventually(lambda: len(told(agent)) == 2 and told(agent))
    assert [event["result"] for event in loaded] == ["loaded", "loaded"]
    assert agent.metric("portwatch_policy_info", sha256=loaded[1]["sha256"]) == 1
    assert agent.metric("portwatch_policy_info") == 1


def test_half_written_file_is_never_in_force(shared: Sandbox) -> None:
    """A file that is written slowly in place counts once it is closed, not half-way, also where
    its first half is a good policy and other files change beside it."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    binder = shared.binder()
    whole = denying(9002)
    assert whole.startswith("version: 1\n")
    with policy.open("w") as file:
        file.write("version: 1\n")
        file.flush()
        for number in range(6):
            (policy.parent / f"other-{number}").write_text("x")
            time.sleep(0.25)
            assert binder.bind(9001) == "EACCES", "the old policy is in force"
        file.write(whole.removeprefix("version: 1\n"))
    followed(binder, 9002)
    eventually(lambda: len(told(agent)) == 2)
    assert [event["result"] for event in told(agent)] == ["loaded", "loaded"]


def test_sighup_loads_again(shared: Sandbox) -> None:
    """SIGHUP loads the policy at once, an unchanged one too."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    generation = agent.metric("portwatch_policy_generation")
    os.kill(agent.pid, signal.SIGHUP)
    eventually(lambda: agent.metric("portwatch_policy_generation") == generation + 1)
    assert shared.binder().bind(9001) == "EACCES"


def test_directory_of_files(shared: Sandbox) -> None:
    """A directory is its *.yaml in name order: files that come and go are followed."""
    directory = shared.folder / "policy.d"
    directory.mkdir()
    (directory / "10-mode.yaml").write_text("version: 1\nmode: enforce\n")
    (directory / "20-one.yaml").write_text("constraints:\n- {name: one, deny: [9001]}\n")
    (directory / "ignored.txt").write_text("no policy")
    agent = shared.agent(directory, "--keep")
    binder = shared.binder()
    assert [binder.bind(9001), binder.bind(9002)] == ["EACCES", "ok"]
    (directory / "30-two.yaml").write_text("constraints:\n- {name: two, deny: [9002]}\n")
    followed(binder, 9002)
    eventually(lambda: agent.metric("portwatch_policy_constraints") == 2)
    (directory / "20-one.yaml").unlink()
    eventually(lambda: binder.bind(9001) == "ok", FOLLOWS_SECONDS)
    assert binder.bind(9002) == "EACCES"


def test_directory_removed_and_made_again(shared: Sandbox) -> None:
    """A directory that is deleted and later put back is followed again."""
    directory = shared.folder / "policy.d"
    directory.mkdir()
    (directory / "a.yaml").write_text(denying(9001))
    agent = shared.agent(directory, "--keep")
    binder = shared.binder()
    shutil.rmtree(directory)
    eventually(lambda: not in_force(agent))
    assert binder.bind(9001) == "EACCES", "the old policy stays"
    time.sleep(0.5)
    directory.mkdir()
    (directory / "a.yaml").write_text(denying(9002))
    followed(binder, 9002)
    rename_over(directory / "a.yaml", denying(9003))
    followed(binder, 9003)
    assert in_force(agent)


@pytest.mark.parametrize("named", ["directory", "file"])
def test_config_map_swap(shared: Sandbox, named: str) -> None:
    """A ConfigMap is followed, which the kubelet updates by swapping the link `..data`."""
    mount = shared.folder / "config"
    mount.mkdir()
    publish(mount, {"policy.yaml": denying(9001)})
    shared.agent(mount if named == "directory" else mount / "policy.yaml", "--keep")
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    for port in (9002, 9003):
        publish(mount, {"policy.yaml": denying(port)})
        followed(binder, port)
    assert binder.bind(9001) == "ok"


def test_link_on_the_way_swapped(shared: Sandbox) -> None:
    """A release directory behind a link, `current`, is followed when the link is swapped."""
    releases = shared.folder / "releases"
    for version, port in (("v1", 9001), ("v2", 9002), ("v3", 9003)):
        (releases / version).mkdir(parents=True)
        (releases / version / "policy.yaml").write_text(denying(port))
    current = shared.folder / "current"
    current.symlink_to("releases/v1")
    shared.agent(current / "policy.yaml", "--keep")
    binder = shared.binder()
    (shared.folder / "next").symlink_to("releases/v2")
    (shared.folder / "next").rename(current)
    followed(binder, 9002)
    current.unlink()
    current.symlink_to("releases/v3")
    followed(binder, 9003)
    (releases / "v3" / "policy.yaml").write_text(denying(9004))
    followed(binder, 9004)


def test_bad_version_changes_nothing(shared: Sandbox) -> None:
    """A bad version is refused in log, event and metric while the old one stays in force; then a
    good one is loaded again."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    binder = shared.binder()
    loaded_at = agent.metric("portwatch_policy_last_load_success_timestamp_seconds")
    policy.write_text("version: 1\nmode: enforce\nconstraints:\n  - {name: x, dney: [9001]}\n")
    eventually(lambda: not in_force(agent))
    refused = eventually(lambda: [e for e in agent.events if e.get("result") == "refused"])
    assert len(refused) == 1
    assert refused[0]["kind"] == "policy"
    place = f"{policy}:4:"
    assert any(error.startswith(place) and "deny" in error for error in refused[0]["errors"])
    eventually(lambda: place in agent.log)
    assert binder.bind(9001) == "EACCES"
    last = "portwatch_policy_last_load_success_timestamp_seconds"
    assert agent.metric(last) == loaded_at

    policy.write_text(denying(9002))
    followed(binder, 9002)
    eventually(lambda: in_force(agent))
    assert agent.metric(last) > loaded_at
    policy.write_text("version: [")
    eventually(lambda: not in_force(agent))
    policy.write_text(denying(9002))
    eventually(lambda: in_force(agent), what="the version in force is good again")


@pytest.mark.parametrize(
    "text",
    ["", "\0", "{" * 100_000, "version: 1\nconstraints: &a [*a]\n", "\xff" * 3, "- 1\n", "🦀"],
    ids=["empty", "nul", "nested", "recursive", "latin", "list", "crab"],
)
def test_garbage_changes_nothing(shared: Sandbox, text: str) -> None:
    """Whatever is in the file, the agent goes on with what it has."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    policy.write_bytes(text.encode("latin-1" if text.startswith("\xff") else "utf-8"))
    eventually(lambda: not in_force(agent))
    assert shared.binder().bind(9001) == "EACCES"
    assert "Traceback" not in agent.log


def test_too_much_for_the_tables(shared: Sandbox) -> None:
    """A policy that parses but fits no table is refused, and the old one stays in force."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    prefixes = (f"10.{n >> 8}.{n & 255}.0/24" for n in range(40_000))
    many = ", ".join(prefixes)
    rename_over(
        policy,
        "version: 1\nmode: enforce\nconstraints:\n"
        f"- {{name: many, addresses: [{many}], deny: [9002]}}\n",
    )
    eventually(lambda: agent.process.poll() is None and not in_force(agent), 15)
    binder = shared.binder()
    assert [binder.bind(9001), binder.bind(9002, "10.0.0.1")] == ["EACCES", "ok"]
    event = eventually(lambda: agent.violations(port=9001))[0]
    assert event["workload"]["cgroup"] == shared.path
    rename_over(policy, denying(9003))
    followed(binder, 9003)


def test_policy_deleted(shared: Sandbox) -> None:
    """Where the policy is deleted the last one stays in force; where it comes back, it counts."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    policy.unlink()
    eventually(lambda: not in_force(agent))
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    policy.write_text(denying(9002))
    followed(binder, 9002)
    eventually(lambda: in_force(agent))


def test_apply_while_the_agent_runs(shared: Sandbox) -> None:
    """`apply` is in force when it returns; the agent adopts it and says so."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    binder = shared.binder()
    applied = shared.policy(denying(9002), "applied.yaml")
    done = shared.run("apply", applied)
    assert done.returncode == 0, done.stderr
    assert [binder.bind(9001), binder.bind(9002)] == ["ok", "EACCES"]
    sha256 = shared.status()["policy"]["sha256"]
    event = eventually(
        lambda: [e for e in agent.events if e["kind"] == "policy" and e["source"] == str(applied)]
    )[0]
    assert (event["result"], event["sha256"]) == ("loaded", sha256)
    assert agent.metric("portwatch_policy_info", sha256=sha256, source=str(applied)) == 1
    shared.run("apply", shared.policy("version: 2\n", "bad.yaml"))
    assert binder.bind(9002) == "EACCES"
    assert shared.status()["policy"]["sha256"] == sha256


def test_new_cgroup_falls_under_its_selector(shared: Sandbox) -> None:
    """A cgroup that is made while the agent runs falls under its selector soon, nested ones too,
    without any look around: these come once a minute."""
    who = f"{shared.path}/job-*"
    names = [f"job-{number}" for number in range(20)]
    shared.agent(shared.policy(denying(9001, who=who)), "--keep")
    binder = shared.binder()
    assert binder.bind(9001) == "ok"
    for number, name in enumerate(names):
        cgroup = shared.home / name / ("nested" if number % 2 else "")
        cgroup.mkdir(parents=True)
        binder.move(cgroup)
        eventually(lambda: binder.bind(9001) == "EACCES", within=5.0)
        binder.move(shared.home)
        assert binder.bind(9001) == "ok"
