"""Processes that are gone before anybody can look, in the agent's events."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from passing_process import NAME, compile_program, passed
from product import eventually
from sandbox import Sandbox, denying

PORT = 9001
USER = 4711


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """passing_process.c, compiled."""
    return compile_program(tmp_path_factory.mktemp("passing") / "bin")


def test_a_process_that_is_gone_is_named(shared: Sandbox, program: Path) -> None:
    """Though the agent could not look at all before the process was reaped, its event names it."""
    agent = shared.agent(shared.policy(denying(PORT)), "--keep")
    agent.process.send_signal(signal.SIGSTOP)
    said = passed(program, shared.home, [NAME, "--port", b"\xff\n"], PORT=PORT, UID=USER)
    agent.process.send_signal(signal.SIGCONT)
    (event,) = eventually(lambda: agent.violations(port=PORT))
    assert event["process"] == {
        "pid": said.pid, "comm": NAME, "cmdline": f"{NAME} --port \\xff\n", "uid": USER,
        "gid": USER,
    }  # fmt: skip


def test_a_process_in_a_pid_namespace_has_both_numbers(shared: Sandbox, program: Path) -> None:
    """Its pid here, and the one that its container knows it by."""
    agent = shared.agent(shared.policy(denying(PORT)), "--keep")
    command = ["unshare", "--pid", "--fork", str(program)]
    passed("/usr/bin/unshare", shared.home, command, PORT=PORT)
    (event,) = eventually(lambda: agent.violations(port=PORT))
    assert event["process"]["container_pid"] == 1
    assert event["process"]["pid"] != 1
    assert event["process"]["cmdline"] == str(program)
