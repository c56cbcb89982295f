"""Lists about ports that the kernel picks which leave a way beside them."""

from __future__ import annotations

from collections.abc import Iterator

from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.reach import Reach

TCP_ONLY = "ephemeral-udp-open"


def picks(reach: Reach) -> Iterator[Finding]:
    """Yield constraints that refuse ports which the kernel picks for TCP, but not for UDP."""
    for number, constraint in enumerate(reach.policy.constraints):
        refused = {
            run.protocol
            for item in constraint.deny.ranges
            if item.last == 0
            for run in reach.runs_in(item, "ephemeral")
            if any(one.deny >> number & 1 for one in run.classes)
        }
        if refused == {"tcp"}:
            reason = (
                "`ephemeral/tcp` in `deny` leaves UDP: with IP_LOCAL_PORT_RANGE a process has the "
                "kernel pick the very port it wants"
            )
            remedy = "write `ephemeral` or `ephemeral/udp` too, if UDP is not to be served either"
            yield Finding.of(constraint, TCP_ONLY, reason, remedy)
