"""`portwatch top` where nobody looks: tables and JSON, exact, and clear errors."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from binder import Bind
from product import PORTWATCH, portwatch
from sandbox import Sandbox, denying

COUNT = 23


def frames(sandbox: Sandbox, *options: object) -> list[dict[str, Any]]:
    """The objects that `top --json` prints."""
    done = sandbox.run("top", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows(frame: dict[str, Any], home: str, **wanted: object) -> list[dict[str, Any]]:
    """The rows of workloads below a cgroup that have these values."""
    mine = [row for row in frame["rows"] if row["workload"].startswith(home)]
    return [row for row in mine if wanted.items() <= row.items()]


def test_json_has_exact_counts(sandbox: Sandbox) -> None:
    """Every kind of row with its count, its constraint and its reason; what was let through before
    the cgroup's own class was known is told apart, too."""
    sandbox.agent(sandbox.policy(denying(2379, who=f"{sandbox.path}/**")), "--keep")
    binder = sandbox.binder(sandbox.make("web"))
    binder.answers([Bind(2379), Bind(8080), Bind(8080, "0.0.0.0")], times=COUNT)
    assert binder.bind(8081, listen=True, hold=True) == "ok"
    assert binder.bind(8081) == "EADDRINUSE"
    first, second = frames(sandbox, "--count", 2, "--interval", 0.3)
    assert first["enforcing"] is True
    assert first["policy"]["mode"] == "enforce"
    home = sandbox.path
    denied = rows(second, home, kind="violation")
    assert [(row["verdict"], row["port"], row["count"]) for row in denied] == [
        ("denied", 2379, COUNT)
    ]
    assert denied[0]["constraint"] == "no-such-port"
    assert denied[0]["reason"] == "not here"
    assert denied[0]["scope"] == "loopback"
    assert denied[0]["process"].endswith(f"[{binder.pid}]")
    assert denied[0]["rate"] == 0
    assert [row["count"] for row in rows(second, home, kind="collision", port=8081)] == [1]
    let_through = rows(second, home, kind="bind", port=8080)
    assert {row["scope"]: row["count"] for row in let_through} == {
        "loopback": COUNT,
        "wildcard": COUNT,
    }
    assert not rows(second, home, kind="bind", port=2379)


def test_a_listener_against_the_policy_has_a_row(sandbox: Sandbox) -> None:
    """What listened before the policy is there, with the word `listening`; what was bound before
    stands as against it, not as denied."""
    sandbox.load(sandbox.policy(denying(9, who=f"{sandbox.path}/**")))
    binder = sandbox.binder(sandbox.make("early"))
    assert binder.bind(8181, listen=True, hold=True) == "ok"
    later = sandbox.policy(denying(8181, who=f"{sandbox.path}/**"), "later.yaml")
    assert sandbox.run("apply", later).returncode == 0
    (frame,) = frames(sandbox)
    (listener,) = rows(frame, sandbox.path, kind="listener")
    assert (listener["port"], listener["verdict"]) == (8181, "denied")
    (bind,) = rows(frame, sandbox.path, kind="bind", port=8181)
    assert (bind["verdict"], bind["count"]) == ("against", 1)
    table = sandbox.run("top").stdout
    assert [line.split()[0] for line in table.splitlines() if "8181/tcp" in line] == [
        "listening",
        "against",
    ]


def test_a_pipe_gets_one_whole_table(shared: Sandbox) -> None:
    """One reading, no escape sequence, nothing cut; more with --count, each with its heading."""
    long = shared.make("w" * 100)
    shared.binder(long).bind(18200)
    done = shared.run("top", "--filter", "18200")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "w" * 100 in done.stdout
    assert done.stdout.count("VERDICT") == 1
    assert "\x1b" not in done.stdout
    twice = shared.run("top", "--count", 2, "--interval", 0.1)
    assert twice.stdout.count("VERDICT") == 2


def test_a_reader_that_leaves_ends_it(shared: Sandbox) -> None:
    """`top -d 0.1 | head` ends, and without a word."""
    process = subprocess.Popen(
        [PORTWATCH, "top", "-d", "0.1", "--pin-dir", str(shared.pin_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    assert process.stdout.readline()
    process.stdout.close()
    process.wait(30)
    assert process.stderr.read() == b""
    process.stderr.close()


def test_nothing_is_loaded(sandbox: Sandbox) -> None:
    """Without pins: exit status 3, and what to do next; in JSON too."""
    done = sandbox.run("top")
    assert done.returncode == 3
    assert "nothing is loaded" in done.stderr
    assert "portwatch load" in done.stderr
    as_json = sandbox.run("top", "--json")
    assert as_json.returncode == 3
    assert "nothing is loaded" in json.loads(as_json.stdout)["error"]


@pytest.mark.parametrize("option", [("--interval", "0"), ("--count", "-1"), ("--sort", "color")])
def test_options_that_make_no_sense(option: tuple[str, str]) -> None:
    """Exit status 2, and the option's name."""
    done = portwatch("top", *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
