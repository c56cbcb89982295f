"""The commands, each as a user types it, without an agent where it needs none."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest
from product import PORTWATCH, portwatch, run_command
from sandbox import Sandbox, denying

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

COMMANDS = ["run", "load", "unload", "apply", "status", "check", "explain", "events", "doctor"]
COMMANDS += ["schema", "demo"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    """`-h` and `--help` say how each command is used."""
    for option in ("-h", "--help"):
        done = portwatch(*command.split(), option)
        assert done.returncode == 0, done.stderr
        assert f"Usage: portwatch {command}".rstrip() in done.stdout
        assert done.stderr == ""


def test_help_lists_every_command() -> None:
    """`--help` names every command, and each that it names has help of its own."""
    table = portwatch("--help").stdout.partition("Commands:")[2]
    named = [line.split()[0] for line in table.splitlines() if re.match(r"  [a-z]", line)]
    assert set(COMMANDS) <= set(named)
    for command in named:
        assert f"Usage: portwatch {command}" in portwatch(command, "-h").stdout, command


def test_version() -> None:
    """`--version` names the product and its version."""
    assert portwatch("--version").stdout.startswith("portwatch 0.")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("statsu", "status"), ("aply", "apply"), ("explian", "explain"), ("event", "events")],
)
def test_mistyped_command(typed: str, meant: str) -> None:
    """A mistyped command ends with status 2 and names the one that was meant."""
    done = portwatch(typed)
    assert done.returncode == 2
    assert f"No such command `{typed}`. Did you mean `{meant}`?" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("line", "meant"),
    [("load --polcy x", "--policy"), ("run --listn :1", "--listen"), ("status --jsn", "--json")],
)
def test_mistyped_option(line: str, meant: str) -> None:
    """A mistyped option ends with status 2 and names the one that was meant."""
    done = portwatch(*line.split())
    assert done.returncode == 2
    assert meant in done.stderr.splitlines()[-1]


def test_completion() -> None:
    """A shell that asks for completions gets its script, and then the commands that fit."""
    more = {"_PORTWATCH_COMPLETE": "bash_source"}
    script = portwatch(env=os.environ | more)
    assert script.returncode == 0
    assert "complete" in script.stdout
    asking = {
        "_PORTWATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "portwatch li",
        "COMP_CWORD": "1",
    }
    assert portwatch(env=os.environ | asking).stdout.split() == ["plain,listeners"]


def test_load_and_unload(sandbox: Sandbox) -> None:
    """`load` enforces with nothing left running; `unload` removes it without a trace."""
    binder = sandbox.binder()
    assert binder.bind(9001) == "ok"
    done = sandbox.load(sandbox.policy(denying(9001)), "--json")
    assert json.loads(done.stdout)["loaded"] is True
    programs = sandbox.program_ids()
    assert [binder.bind(9001), binder.bind(9002)] == ["EACCES", "ok"]
    facts = sandbox.status()
    assert facts["agent_pid"] is None
    assert facts["enforcing"] is True
    assert facts["binds"] == {"allowed": 1, "denied": 1, "recorded": 0}
    assert not sandbox.socket.exists()
    done = sandbox.run("unload")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"unloaded {sandbox.pin_dir}" in done.stdout
    sandbox.assert_nothing_left(programs)
    assert binder.bind(9001) == "ok"
    again = sandbox.run("unload")
    assert again.returncode == 0
    assert "nothing was loaded" in again.stdout


def test_load_again(shared: Sandbox) -> None:
    """`load` on what is loaded swaps the policy, compiles nothing and keeps the counts."""
    shared.load(shared.policy(denying(9001)))
    programs, before = shared.program_ids(), shared.status()
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    shared.load(shared.policy(denying(9002)))
    assert [binder.bind(9001), binder.bind(9002)] == ["ok", "EACCES"]
    after = shared.status()
    assert shared.program_ids() == programs
    assert after["binds"]["denied"] - before["binds"]["denied"] == 2
    assert after["binds"]["allowed"] - before["binds"]["allowed"] == 1
    assert after["policy"]["generation"] == before["policy"]["generation"] + 1


def test_mode_on_the_command_line(shared: Sandbox) -> None:
    """`--mode record` denies nothing whatever the policy says; `--mode enforce` enforces a file
    that only records. What the kernel has says so too."""
    binder = shared.binder()
    shared.load(shared.policy(denying(9001, mode="enforce")), "--mode", "record")
    assert binder.bind(9001) == "ok"
    assert shared.status()["policy"]["mode"] == "record"
    asked = ["--cgroup", shared.path, "--port", "9001"]
    assert "recorded" in shared.run("explain", *asked).stdout
    shared.load(shared.policy(denying(9001, mode="record")), "--mode", "enforce")
    assert binder.bind(9001) == "EACCES"
    assert "denied" in shared.run("explain", *asked).stdout


def test_apply_without_an_agent(shared: Sandbox) -> None:
    """`apply` swaps the policy with no agent there; where nothing is loaded it ends with 3."""
    done = shared.run("apply", shared.policy(denying(9003)))
    assert done.returncode == 0, done.stderr
    assert shared.binder().bind(9003) == "EACCES"
    nowhere = portwatch("apply", shared.policy(denying(1)), "--pin-dir", f"{shared.pin_dir}-not")
    assert nowhere.returncode == 3
    assert "nothing is loaded" in nowhere.stderr
    assert "hint: portwatch load" in nowhere.stderr


def test_status(shared: Sandbox) -> None:
    """`status` shows the agent, hooks, mode, policy, counts and gaps, in words and as JSON."""
    policy = shared.policy(denying(9001))
    agent = shared.agent(policy, "--keep")
    binder = shared.binder()
    before = shared.status()["binds"]["denied"]
    assert [binder.bind(9001) for _ in range(23)] == ["EACCES"] * 23
    facts = shared.status()
    assert facts["agent_pid"] == agent.pid
    assert facts["binds"]["denied"] - before == 23
    assert {"bind4", "bind6", "post_bind4", "post_bind6"} <= facts["hooks"].keys()
    assert facts["policy"]["source"] == str(policy)
    mine = [entry for entry in facts["violations"] if entry["workload"] == shared.path]
    assert [(entry["port"], entry["count"]) for entry in mine] == [(9001, 23)]
    assert "sctp" in facts["uncovered"]
    words = shared.run("status").stdout
    for wanted in (
        f"pid {agent.pid}",
        "mode      enforce",
        facts["policy"]["sha256"][:12],
        f"denied {facts['binds']['denied']:,}",
        "sctp: ",
    ):
        assert wanted in words
    agent.end()
    assert "not running" in shared.run("status").stdout


def test_status_of_nothing() -> None:
    """Where nothing is loaded `status` ends with 3, in JSON too."""
    nowhere = "/sys/fs/bpf/portwatch-e2e-nowhere"
    done = portwatch("status", "--pin-dir", nowhere)
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing is loaded" in done.stderr
    done = portwatch("status", "--json", "--pin-dir", nowhere)
    assert done.returncode == 3
    assert "nothing is loaded" in json.loads(done.stdout)["error"]


def test_check(tmp_path: Path) -> None:
    """`check` says ok and what it read; of a bad policy every error with its place, status 2."""
    good = tmp_path / "good.yaml"
    good.write_text(denying(9001))
    done = portwatch("check", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{good}: ok, 1 constraint, mode enforce" in done.stdout
    assert json.loads(portwatch("check", good, "--json").stdout)["ok"] is True
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "version: 1\nmode: enforced\nconstraints:\n"
        "  - {name: a, deny: [99999]}\n  - {name: a, deny: [1]}\n"
    )
    done = portwatch("check", bad)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        f"{bad}:2:7",
        f"{bad}:4:22",
        f"{bad}:5:12",
    ]
    assert "`enforce`" in lines[0]
    assert lines[-1] == "portwatch: 3 errors in the policy"
    problems = json.loads(portwatch("check", bad, "--json").stdout)["problems"]
    assert [problem["line"] for problem in problems] == [2, 4, 5]


def test_schema() -> None:
    """`schema` prints a JSON Schema: of version 2020-12, with the policy's keys, strict."""
    done = portwatch("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert {"version", "mode", "default", "errno", "define", "constraints"} <= set(
        schema["properties"]
    )
    assert schema["additionalProperties"] is False


def test_doctor() -> None:
    """`doctor` finds this machine fit, lists every need, and how to detach everything."""
    done = portwatch("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for need in ("root", "kernel", "libbpf", "bcc", "cgroup2", "BPF file system", "BTF", "pins"):
        assert need in done.stdout, need
    assert "MISS" not in done.stdout
    assert "to detach everything: portwatch unload" in done.stdout
    facts = json.loads(portwatch("doctor", "--json").stdout)
    assert facts["ok"] is True
    assert "portwatch unload" in facts["detach_all"]


def test_demo_leaves_nothing() -> None:
    """`demo` shows a denied bind, its event, metric and explanation, and leaves nothing."""
    bpffs, cgroups = Path("/sys/fs/bpf"), find_cgroup2(HostPaths())

    def of_demos() -> list[Path]:
        places = (bpffs, cgroups, Path("/tmp"))
        return sorted(path for place in places for path in place.glob("portwatch-demo-*"))

    before = of_demos()
    done = portwatch("demo")
    assert done.returncode == 0, done.stderr
    for wanted in (
        "bind() = 0",
        "bind() = -1 EACCES (Permission denied)",
        '"constraint": "demo-ports"',
        'portwatch_violations_total{constraint="demo-ports"',
        "denied by demo-ports",
        "Nothing is left behind",
    ):
        assert wanted in done.stdout, wanted
    assert of_demos() == before


def test_demo_where_its_port_is_taken() -> None:
    """`demo` says so where something else has its port, and leaves nothing then either."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 28080))
        taken.listen()
        done = portwatch("demo")
    assert "Traceback" not in done.stderr
    assert not list(Path("/sys/fs/bpf").glob("portwatch-demo-*"))


def test_policy_of_as_many_constraints_as_fit(shared: Sandbox) -> None:
    """1,024 constraints are enforced, the last as well as the first; 1,025 are refused."""

    def policy(count: int) -> Path:
        lines = [f"- {{name: c{n}, deny: [{20000 + n}]}}\n" for n in range(count)]
        return shared.policy("version: 1\nmode: enforce\nconstraints:\n" + "".join(lines))

    shared.load(policy(1024))
    assert shared.status()["policy"]["constraints"] == 1024
    binder = shared.binder()
    said = [binder.bind(20000 + n) for n in (0, 511, 1023, 1024)]
    assert said == ["EACCES", "EACCES", "EACCES", "ok"]
    done = shared.run("apply", policy(1025))
    assert done.returncode == 2
    assert "1,025 constraints; a policy has at most 1,024" in done.stderr
    assert f"{shared.folder}/policy.yaml:1028:" in done.stderr
    assert binder.bind(20000) == "EACCES"


def test_pipe_that_closes(shared: Sandbox) -> None:
    """Whatever prints can be cut off by `head`, or written to a full device, with no traceback."""
    for command in ("schema", "status", "doctor", "check policy.yaml", "--help"):
        where = (
            ""
            if command in ("schema", "--help") or "check" in command
            else (f"--pin-dir {shared.pin_dir}")
        )
        line = f"cd {shared.folder} && {PORTWATCH} {command} {where}"
        shared.policy(denying(9001))
        cut = run_command(["sh", "-c", f"{line} | head -c 1"])
        assert cut.stderr == "", command
        piped = run_command(["bash", "-o", "pipefail", "-c", f"{line} | true"])
        assert piped.returncode == 0, command
        full = run_command(["sh", "-c", f"{line} > /dev/full"])
        assert full.returncode != 0, command
        assert "Traceback" not in full.stderr, command
        closed = run_command(["sh", "-c", f"{line} >&-"])
        assert "Traceback" not in closed.stderr, command
    nothing = f"{PORTWATCH} status --json --pin-dir {shared.pin_dir}-no | true"
    done = run_command(["bash", "-o", "pipefail", "-c", nothing])
    assert (done.returncode, done.stderr) == (3, "")


def test_status_counts_cgroups_by_class(sandbox: Sandbox) -> None:
    """Every cgroup that is judged is in one class, which tells the constraints that name it."""
    for name in ("shop", "shop/a", "shop/b", "ci", "odd"):
        sandbox.make(name)
    sandbox.load(
        sandbox.policy(
            "version: 1\nmode: enforce\nconstraints:\n"
            f'- {{name: shop, for: {{cgroup: "{sandbox.path}/shop/*"}}, deny: [9000]}}\n'
            f'- {{name: but-ci, except: {{cgroup: "{sandbox.path}/ci"}}, deny: [9001]}}\n'
            "- {name: of-users, for: {user: nobody}, deny: [9002]}\n"
        )
    )
    later = sandbox.make("later")
    facts = sandbox.status()["cgroups"]
    found = {
        (*one["for"], *(f"-{name}" for name in one["except"])): one for one in facts["classes"]
    }
    assert {names: one["cgroups"] for names, one in found.items()} == {
        ("shop",): 2,
        ("-but-ci",): 1,
        (): 3,
    }
    assert found["shop",]["example"] == f"{sandbox.path}/shop/a"
    assert facts["unclassified"] == 1
    words = sandbox.run("status").stdout
    assert f"for shop, such as {sandbox.path}/shop/a" in words
    assert "named by no constraint" in words
    assert "1  not classified: as the nearest above them" in words
    later.rmdir()
