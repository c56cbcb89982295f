"""The machine has booted with the package installed, and files that are no policy any more."""

from __future__ import annotations

from unit import Unit, metric

AGENT = Unit("portwatch.service")


def test_the_last_good_policy_is_in_force() -> None:
    """The loader says what is wrong and takes what the agent had kept: another unit is refused, and
    the metrics tell that the files are bad."""
    assert "the last good policy stays" in AGENT.log
    assert "unknown key `constraint`" in AGENT.log
    stranger = Unit("stranger.service")
    stranger.call("start")
    assert stranger.show("ExecMainStatus") == "13"
    AGENT.wait_for_event(kind="violation", workload=stranger.name, verdict="denied")
    assert metric("portwatch_policy_last_load_successful") == 0
    assert metric("portwatch_enforcing") == 1
