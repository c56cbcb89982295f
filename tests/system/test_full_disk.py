"""A disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bind_loop import BindLoop
from unit import Unit, eventually, metric, run

SMALL = Path("/run/small")
DROP_IN = Path("/run/systemd/system/portwatch.service.d/small.conf")
OPTIONS = Path("/etc/default/portwatch")


@pytest.fixture
def small_disk(agent: Unit) -> Iterator[Path]:
    """The agent appends its events to a file on a disk of 64 KiB."""
    options = OPTIONS.read_text()
    SMALL.mkdir()
    assert run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(SMALL)).returncode == 0
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(f"[Service]\nReadWritePaths={SMALL}\n")
    OPTIONS.write_text(f'PORTWATCH_AGENT_OPTIONS="--events {SMALL}/events"\n')
    restart(agent)
    yield SMALL
    OPTIONS.write_text(options)
    DROP_IN.unlink()
    restart(agent)
    run("umount", str(SMALL))
    SMALL.rmdir()


def restart(agent: Unit) -> None:
    """With what the unit is now."""
    before = agent.pid
    run("systemctl", "daemon-reload")
    assert agent.call("restart") == 0
    agent.wait_until_active(but=before)


def test_a_full_disk_costs_events_only(agent: Unit, small_disk: Path, storm: BindLoop) -> None:
    """With no room for its events the agent says so, lives on and denies; with room again it writes
    again."""
    events, fills = small_disk / "events", small_disk / "fills"
    eventually(lambda: "violation" in events.read_text())
    pid = agent.pid
    run("dd", "if=/dev/zero", f"of={fills}", "bs=4k")
    run("truncate", "--size", "0", str(events))
    run("dd", "if=/dev/zero", f"of={fills}", "bs=4k", "oflag=append", "conv=notrunc")
    eventually(lambda: "No space left on device" in agent.log)
    assert (agent.pid, metric("portwatch_enforcing")) == (pid, 1)
    fills.unlink()
    written = events.read_text()
    eventually(lambda: events.read_text() != written)
    assert agent.pid == pid
