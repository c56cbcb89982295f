"""Events in systemd's journal: a real one, read back with journalctl."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest
from journald import Journal, running_journald
from product import children, eventually
from sandbox import Sandbox, denying

from portwatch.agent.events.journal import MESSAGE_IDS


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal of this test's own."""
    with running_journald() as journal:
        yield journal


def test_fields(shared: Sandbox, journal: Journal) -> None:
    """A denied bind is one entry: a line for people, and fields that journalctl matches, what the
    journal itself knows of the process among them."""
    policy = shared.policy(denying("9001-9003"))
    agent = shared.agent(policy, "--keep", "--events", "journal", before=journal.inside)
    binder = shared.binder()
    assert binder.bind(9002, "::1") == "EACCES"
    mine = ("PORTWATCH_CONSTRAINT=no-such-port", "PORTWATCH_PORT=9002")
    entry = eventually(lambda: journal.entries(*mine))[0]
    assert entry["MESSAGE"].startswith("denied tcp [::1]:9002 by ")
    assert entry["MESSAGE"].endswith("no-such-port → EACCES (not here)")
    wanted = {
        "MESSAGE_ID": MESSAGE_IDS["violation"],
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "portwatch",
        "PORTWATCH_KIND": "violation",
        "PORTWATCH_VERDICT": "denied",
        "PORTWATCH_REASON": "not here",
        "PORTWATCH_ERRNO": "EACCES",
        "PORTWATCH_PROTOCOL": "tcp",
        "PORTWATCH_ADDRESS": "::1",
        "PORTWATCH_FAMILY": "ipv6",
        "PORTWATCH_WORKLOAD": shared.path,
        "PORTWATCH_COUNT": "1",
        "OBJECT_PID": str(binder.pid),
        "_PID": str(agent.pid),
    }
    assert {name: entry.get(name) for name in wanted} == wanted
    assert entry["OBJECT_EXE"] == os.readlink(f"/proc/{binder.pid}/exe")
    loaded = journal.entries(f"MESSAGE_ID={MESSAGE_IDS['policy']}")
    assert [(one["PORTWATCH_RESULT"], one["PRIORITY"]) for one in loaded] == [("loaded", "6")]
    policy.write_text("version: 1\nmode: enforce\nconstraints:\n  - {nmae: x}\n")
    refused = eventually(lambda: journal.entries("PORTWATCH_RESULT=refused"), within=10)[0]
    assert refused["PRIORITY"] == "3"
    assert "\n" in refused["MESSAGE"] and "nmae" in refused["MESSAGE"]
    assert agent.lines == []


def test_a_service_of_systemd_writes_there(shared: Sandbox, journal: Journal) -> None:
    """Where systemd made stdout a stream to the journal, events go there as entries with fields
    without being asked to."""
    stream = journal.stream()
    opened = os.fstat(stream.fileno())
    before = [*journal.inside, "env", f"JOURNAL_STREAM={opened.st_dev}:{opened.st_ino}"]
    policy = shared.policy(denying(9001))
    shared.agent(policy, "--keep", stdout=stream.fileno(), before=before)
    stream.close()
    assert shared.binder().bind(9001) == "EACCES"
    entry = eventually(lambda: journal.entries("PORTWATCH_PORT=9001"))[0]
    assert entry["_TRANSPORT"] == "journal"
    assert journal.entries("_TRANSPORT=stdout") == []


def test_a_journal_that_stands_still(sandbox: Sandbox, journal: Journal) -> None:
    """It holds up nothing: all events are counted meanwhile, and when it goes on, it is told how
    many were dropped, though no event follows: told + lost = happened."""
    policy = sandbox.policy(denying("20000-27999"))
    agent = sandbox.agent(policy, "--events", "journal", before=journal.inside)
    binder = sandbox.binder()
    total = 8000

    def all_told(count: int) -> bool:
        return agent.metric("portwatch_events_total", kind="violation") >= count

    journal.process.send_signal(signal.SIGSTOP)
    try:
        for done in range(0, total, 2000):  # in steps that fit the ring, however busy the agent is
            assert {binder.bind(20000 + done + n) for n in range(2000)} == {"EACCES"}
            eventually(partial(all_told, done + 2000), within=30)
    finally:
        journal.process.send_signal(signal.SIGCONT)

    def counts(kind: str) -> int:
        entries = journal.entries(f"PORTWATCH_KIND={kind}")
        return sum(int(entry["PORTWATCH_COUNT"]) for entry in entries)

    eventually(lambda: counts("lost") and counts("violation") + counts("lost") == total, 60)
    assert binder.bind(20000) == "EACCES"
    eventually(lambda: counts("violation") + counts("lost") == total + 1)
    assert 1000 < counts("lost") < total
    assert children(agent.pid) == []
    assert agent.end() == 0


def test_no_journal(shared: Sandbox) -> None:
    """Where there is no journal, `--events journal` is a mistake, and says what to do."""
    policy = shared.policy(denying(9001))
    options = ("--policy", policy, "--cgroup", shared.cgroup, "--events", "journal")
    done = shared.run("run", *options)
    assert done.returncode == 2
    assert "cannot write events to the journal" in done.stderr
    assert "choose another --events" in done.stderr
