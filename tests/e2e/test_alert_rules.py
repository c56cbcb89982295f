"""The alerts by Prometheus's own tool: no agent, no server, time as it is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from committed_queries import RULE_TESTS, RULES, SCRAPE_CONFIG
from product import run_command

# One change of a rule, and what its tests would no longer hold.
MISTAKES = {
    "a first violation is missed": ("or portwatch_violations_total\n", "or 0 * up\n"),
    "a restart of the agent fires": ("last_over_time(portwatch_violations_total[1h] offset 5m)",
                                     "portwatch_violations_total offset 5m"),
    "an old listener is new after a restart": ("[1d:10m] offset 1h", "[5m] offset 1h"),
    "a bound is another": ("> 20", "> 21"),
}  # fmt: skip


def test_rules_pass_their_tests() -> None:
    """The alerts fire when they should, say what they should, and not when an agent restarts."""
    done = run_command(["promtool", "test", "rules", RULE_TESTS.name], cwd=RULE_TESTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    for command in (["check", "rules", str(RULES)], ["check", "config", str(SCRAPE_CONFIG)]):
        done = run_command(["promtool", *command])
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_tests_of_the_rules_can_fail(tmp_path: Path, mistake: str) -> None:
    """A rule with a mistake does not pass."""
    right, wrong = MISTAKES[mistake]
    assert right in RULES.read_text()
    (tmp_path / RULES.name).write_text(RULES.read_text().replace(right, wrong))
    shutil.copy(RULE_TESTS, tmp_path)
    done = run_command(["promtool", "test", "rules", RULE_TESTS.name], cwd=tmp_path)
    assert done.returncode == 1
    assert "FAILED" in done.stderr, "a mistake in what it does, not in how it is written"
