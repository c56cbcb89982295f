"""The package as apt has just installed it: nothing was configured, nothing was started by hand."""

from __future__ import annotations

import urllib.request

from unit import Unit, metric, run

from portwatch import __version__


def test_it_runs_and_records() -> None:
    """The agent is active, enabled and ready; it denies nothing."""
    unit = Unit("portwatch.service")
    unit.wait_until_active()
    assert run("systemctl", "is-enabled", unit.name).stdout == "enabled\n"
    with urllib.request.urlopen("http://127.0.0.1:9477/readyz") as answer:
        assert answer.read() == b"ready\n"
    assert metric("portwatch_policy_last_load_successful") == 1
    assert "mode      record" in run("portwatch", "status").stdout
    assert run("portwatch", "--version").stdout.split()[-1] == __version__


def test_a_violation_is_in_the_journal() -> None:
    """A unit on etcd's port goes on, and the journal has its name and the reason."""
    newcomer = Unit("newcomer.service")
    assert newcomer.call("start") == 0
    try:
        event = Unit("portwatch.service").wait_for_event(
            kind="violation", workload=newcomer.name, port="2379"
        )
        assert (event["verdict"], event["constraint"]) == ("recorded", "etcd")
        assert "2379-2380 are etcd's" in event["reason"]
        assert newcomer.show("ActiveState") == "active"
    finally:
        newcomer.call("stop")


def test_the_units_are_sound() -> None:
    """`systemd-analyze verify` has nothing to say."""
    units = ("portwatch.service", "portwatch-errand.socket", "portwatch-errand@1.service")
    done = run("systemd-analyze", "--man=no", "verify", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
