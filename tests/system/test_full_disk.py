"""A disk that is full: of an event file, of the journal."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bind_loop import BindLoop
from unit import Unit, eventually, metric, run

SMALL = Path("/run/small")
DROP_IN = Path("/run/systemd/system/portwatch.service.d/small.conf")
JOURNAL = Path("/var/log/journal")
JOURNAL_DROP_IN = Path("/run/systemd/journald.conf.d/small.conf")
JOURNAL_SETTINGS = """[Journal]
Storage=persistent
SystemMaxUse=1G
SystemKeepFree=1
RateLimitIntervalSec=0
"""
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


@pytest.fixture
def small_journal(agent: Unit) -> Iterator[Path]:
    """The journal is on a disk of 20 MiB, of which it may take all."""
    JOURNAL.mkdir(exist_ok=True)
    assert run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(JOURNAL)).returncode == 0
    JOURNAL_DROP_IN.parent.mkdir(exist_ok=True)
    JOURNAL_DROP_IN.write_text(JOURNAL_SETTINGS)
    run("systemctl", "restart", "systemd-journald")
    run("journalctl", "--flush")
    yield JOURNAL
    JOURNAL_DROP_IN.unlink()
    run("umount", "--lazy", str(JOURNAL))
    run("systemctl", "restart", "systemd-journald")


def takes(journal: Path) -> bool:
    """Whether the journal on that disk takes a line now."""
    line = f"marker {time.monotonic_ns()}"
    subprocess.run(["systemd-cat", "-t", "marker"], input=line, text=True, check=True)
    run("journalctl", "--sync")
    return line in run("journalctl", "-D", str(journal), "-o", "cat", "-t", "marker").stdout


def test_a_full_journal_costs_events_only(
    agent: Unit, small_journal: Path, storm: BindLoop
) -> None:
    """With no room for the journal the agent lives on, denies and counts; with room again its
    events are there again."""
    eventually(lambda: takes(small_journal))
    pid, denied = agent.pid, metric("portwatch_violations_total", verdict="denied")
    fills = small_journal / "fills"
    run("dd", "if=/dev/zero", f"of={fills}", "bs=64k")
    flood = "\n".join(secrets.token_hex(8000) for _ in range(100))

    def is_full() -> bool:
        subprocess.run(["systemd-cat", "-t", "flood"], input=flood, text=True, check=True)
        return not takes(small_journal)

    eventually(is_full, 60)
    eventually(lambda: metric("portwatch_violations_total", verdict="denied") > denied)
    assert (agent.pid, metric("portwatch_enforcing")) == (pid, 1)
    fills.unlink()
    eventually(lambda: takes(small_journal))
    since = len(agent.events)
    eventually(lambda: len(agent.events) > since)
    assert agent.pid == pid
