"""Users and groups come, go and change their numbers while a policy that names them is in force."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from binder import Binder
from own_etc import OwnEtc
from product import PORTWATCH, AgentProcess, eventually, run_command
from sandbox import Sandbox

FOLLOWS_SECONDS = 30.0
PORT = 9000
FIRST, SECOND = 5001, 5002
QUIET = 5123  # as quiet_names.c has it
POLICY = """
version: 1
mode: enforce
constraints:
  - {{name: newcomers, for: {{{kind}: [{words}]}}, deny: [9000]}}
"""


@pytest.fixture
def etc(tmp_path: Path) -> OwnEtc:
    """The agent's own /etc."""
    return OwnEtc(tmp_path / "etc")


def start(shared: Sandbox, etc: OwnEtc, kind: str, words: str = "newcomer") -> AgentProcess:
    """An agent that denies port 9000 to these users or groups, ready."""
    policy = shared.policy(POLICY.format(kind=kind, words=words))
    return shared.agent(policy, "--keep", before=etc.command)


def said(binder: Binder, kind: str, number: int) -> str:
    """What bind() says to a process with this uid, or this gid."""
    return binder.bind(PORT, **{"user": {"uid": number}, "group": {"gid": number}}[kind])


def becomes(binder: Binder, kind: str, denied: set[int]) -> None:
    """Soon exactly these are denied, of those that the tests use."""

    def are_denied() -> bool:
        now = {n for n in (FIRST, SECOND, QUIET) if said(binder, kind, n) == "EACCES"}
        return now == denied

    eventually(are_denied, FOLLOWS_SECONDS, f"{denied} are denied")


def loads(agent: AgentProcess) -> int:
    """How often it told that a policy was loaded."""
    return sum(event["kind"] == "policy" and event["result"] == "loaded" for event in agent.events)


@pytest.mark.parametrize("kind", ["user", "group"])
def test_an_account_comes_changes_and_goes(shared: Sandbox, etc: OwnEtc, kind: str) -> None:
    """A name of the policy means whoever has it now: denied once it is there, by its new number
    when that changes, and nobody once it is gone; each is told, in the log with names."""
    agent, binder = start(shared, etc, kind), shared.binder()
    becomes(binder, kind, set())
    etc.account(kind, "newcomer", FIRST)
    becomes(binder, kind, {FIRST})
    etc.account(kind, "newcomer", SECOND)
    becomes(binder, kind, {SECOND})
    assert f"info: accounts changed, the policy follows: {kind} 'newcomer' (5002)" in agent.log
    etc.account(kind, "newcomer", None)
    becomes(binder, kind, set())
    assert f"warning: accounts are gone, the policy's names mean nobody: {kind} 'newcomer'" in (
        agent.log
    )
    eventually(lambda: loads(agent) == 4)


def test_accounts_that_the_policy_does_not_name(shared: Sandbox, etc: OwnEtc) -> None:
    """Nothing is loaded again for others' accounts, nor for a second name of the same number."""
    etc.account("user", "newcomer", FIRST)
    agent, binder = start(shared, etc, "user", "newcomer, 'new-*'"), shared.binder()
    generation = agent.metric("portwatch_policy_generation")
    etc.account("user", "somebody", SECOND)
    etc.account("user", "new-1", SECOND)
    becomes(binder, "user", {FIRST, SECOND})
    etc.account("user", "new-2", SECOND)
    etc.account("user", "new-1", None)
    etc.account("user", "newcomer", None)
    becomes(binder, "user", {SECOND})
    eventually(lambda: agent.metric("portwatch_policy_generation") == generation + 2)
    eventually(lambda: loads(agent) == 3)


@pytest.mark.parametrize("text", ["", "ne", "\0\0\n"])
def test_a_file_that_is_no_database(shared: Sandbox, etc: OwnEtc, text: str) -> None:
    """While the file is empty or broken nothing opens and nothing closes, and the log says so;
    what it says once it is whole again is followed."""
    etc.account("user", "newcomer", FIRST)
    agent, binder = start(shared, etc, "user"), shared.binder()
    whole = etc.lines("passwd")
    etc.path("passwd").write_text(text)
    eventually(lambda: "accounts stay what they were" in agent.log, FOLLOWS_SECONDS)
    becomes(binder, "user", {FIRST})
    assert loads(agent) == 1
    etc.replace("passwd", whole)
    etc.account("user", "newcomer", SECOND)
    becomes(binder, "user", {SECOND})


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_name_that_is_not_listed(
    shared: Sandbox, etc: OwnEtc, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that its directory knows and does not list is looked up by itself: at the start, and
    when the directory comes later."""
    source = Path(__file__).with_name("quiet_names.c")
    library = tmp_path / "libnss_quiet.so.2"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(library), str(source)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    agent, binder = start(shared, etc, kind, "quiet, newcomer"), shared.binder()
    becomes(binder, kind, set())
    etc.replace("nsswitch.conf", ["passwd: files quiet", "group: files quiet"])
    etc.account(kind, "newcomer", FIRST)
    becomes(binder, kind, {FIRST, QUIET})
    assert agent.end() == 0
    restarted = start(shared, etc, kind, "quiet")
    becomes(binder, kind, {QUIET})
    assert loads(restarted) == 1
    asked = [f"--{kind}", "quiet", "--port", str(PORT), "--pin-dir", str(shared.pin_dir)]
    done = run_command([*etc.command, PORTWATCH, "explain", *asked])
    assert "denied by newcomers" in done.stdout, done
