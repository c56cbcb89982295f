"""The machine has booted with the package installed, and a policy that enforces."""

from __future__ import annotations

import pytest
from unit import Unit

AGENT = Unit("portwatch.service")


def test_enforcing_before_the_first_socket() -> None:
    """A socket unit at boot is refused: portwatch was there before."""
    early = Unit("early.socket")
    assert early.show("ActiveState") == "failed"
    AGENT.wait_for_event(kind="violation", workload=early.name, port="28001", verdict="denied")


def test_enforcing_before_the_first_service() -> None:
    """An ordinary service that binds as early as it can comes after portwatch, and is refused."""
    eager = Unit("eager.service")
    assert eager.show("ExecMainStatus") == "13"
    assert moment(AGENT, "ActiveEnterTimestampMonotonic") < moment(
        eager, "ExecMainStartTimestampMonotonic"
    )
    AGENT.wait_for_event(kind="violation", workload=eager.name, port="28002", verdict="denied")


def test_enforcing_before_ssh() -> None:
    """sshd comes after portwatch."""
    ssh = Unit("ssh.service")
    if ssh.show("LoadState") != "loaded":
        pytest.skip("there is no sshd on this machine")
    assert moment(AGENT, "ActiveEnterTimestampMonotonic") < moment(
        ssh, "ExecMainStartTimestampMonotonic"
    )


def moment(unit: Unit, of: str) -> int:
    """When that was, in microseconds; it has to have been."""
    value = int(unit.show(of))
    assert value, (unit.name, of)
    return value
