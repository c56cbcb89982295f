"""The clock jumps; in guests only, whose clock is nobody else's."""

from __future__ import annotations

import time

from bind_loop import BindLoop
from unit import Unit, metric

HOUR, YEAR = 3600, 365 * 86400


def test_the_clock_jumps(agent: Unit, storm: BindLoop) -> None:
    """A year ahead and an hour back of where it was: the agent and enforcement stay, and violations
    go on being told, in the time that it is then."""
    pid, start, since = agent.pid, time.time(), time.monotonic()
    try:
        for jump in (YEAR, -HOUR):
            denied = metric("portwatch_binds_total", verdict="denied")
            time.clock_settime(time.CLOCK_REALTIME, start + jump)
            storm.wait_for_attempts()
            agent.wait_for_event(kind="violation", workload="guest-job.service", port="28000")
            assert metric("portwatch_binds_total", verdict="denied") > denied
            assert (agent.pid, metric("portwatch_enforcing")) == (pid, 1)
    finally:
        time.clock_settime(time.CLOCK_REALTIME, start + time.monotonic() - since)
