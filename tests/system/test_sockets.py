"""Socket activation: systemd binds in the socket unit's cgroup, so it is the socket unit that is
judged."""

from __future__ import annotations

from unit import Unit


def test_a_socket_on_anothers_port_is_refused(agent: Unit) -> None:
    """A socket unit on a denied port fails, and the event names it."""
    taken = Unit("taken.socket")
    try:
        assert taken.call("start") != 0
        agent.wait_for_event(kind="violation", port="28003", workload=taken.name, verdict="denied")
    finally:
        taken.call("reset-failed")


def test_a_socket_on_another_port_is_not(agent: Unit) -> None:
    """A socket unit on a port that nobody has listens."""
    kept = Unit("kept.socket")
    try:
        assert kept.call("start") == 0
        assert kept.show("SubState") == "listening"
    finally:
        kept.call("stop")
