"""What somebody who has taken over the agent can reach, by a probe in the agent's own sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit import Unit, run

PROBE = Path("/job/tree/tests/system/reach.py")
UNIT = Path("/run/systemd/system/probe.service")
NOT_ITS_OWN = (
    "ExecStartPre|ExecReload|NotifyAccess|Restart|WatchdogSec|Before|After|Wants|Conflicts"
)
OUT_OF_REACH = [
    "/root/direct",
    "/etc/direct",
    "/proc/1/root/etc/indirect",
    "/proc/1/mem",
    "/proc/1/root/proc/1/mem",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
    "/proc/1/root/run/systemd/private",
]


@pytest.fixture
def probe() -> Iterator[Unit]:
    """The agent's unit, but that it runs the probe."""
    text = Path("/lib/systemd/system/portwatch.service").read_text()
    text = re.sub(rf"^({NOT_ITS_OWN})\w*=.*$", "", text, flags=re.M)
    text = re.sub(r"^Type=.*$", "Type=oneshot", text, flags=re.M)
    start = f"ExecStart=/usr/bin/python3 {PROBE} {' '.join(OUT_OF_REACH)}"
    UNIT.write_text(re.sub(r"^ExecStart=.*$", start, text, flags=re.M))
    run("systemctl", "daemon-reload")
    yield Unit(UNIT.name)
    UNIT.unlink()
    run("systemctl", "daemon-reload")


def test_out_of_reach(probe: Unit) -> None:
    """It can write no file of the machine's and no other process's memory, nor give orders to
    systemd, also not by way of PID 1's file system."""
    assert probe.call("start") == 0, probe.log
    assert not any(Path(path).exists() for path in ("/root/direct", "/etc/direct", "/etc/indirect"))
