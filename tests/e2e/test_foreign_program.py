"""Somebody else's program beside portwatch's: the running agent notices by itself."""

from __future__ import annotations

from beside import attached, rewriting_port
from product import eventually
from sandbox import Sandbox, denying

from portwatch.kernel.hooks import ATTACH_INET4_BIND

KEPT, ASKED = 9000, 9001


def test_the_agent_notices_a_program_that_rewrites_ports(sandbox: Sandbox) -> None:
    """Within a second of its coming the port that it gives out is refused like any other, and
    the event has both ports."""
    agent = sandbox.agent(sandbox.policy(denying(KEPT)))
    binder = sandbox.binder()
    assert binder.bind(ASKED) == "ok"
    with attached(sandbox.cgroup, ATTACH_INET4_BIND, rewriting_port(KEPT)):
        eventually(lambda: binder.bind(ASKED) == "EACCES", 2, "it is noticed")
        assert binder.bind(ASKED) == "EACCES"
    event = eventually(lambda: agent.violations(KEPT))[0]
    assert (event["verdict"], event["errno"]) == ("denied", "EACCES")
    assert (event["bind"]["port"], event["bind"]["requested_port"]) == (KEPT, ASKED)
    assert binder.bind(ASKED) == "ok"
