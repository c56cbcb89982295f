"""What the outlet told and what it told as lost are together what it was given."""

from __future__ import annotations

import threading
import time
from queue import Queue

import pytest

from portwatch.agent.events import outlet
from portwatch.agent.events.outlet import Outlet


def lost(count: int) -> bytes:
    """A notice."""
    return b"lost %d" % count


def test_what_was_dropped_is_told_though_nothing_follows() -> None:
    """The last events of a burst were dropped while the reader stalled: it hears of them once it
    goes on, not with the next event."""
    told: Queue[bytes] = Queue()
    busy, goes_on = threading.Event(), threading.Event()

    def send(message: bytes) -> bool:
        busy.set()
        goes_on.wait()
        told.put(message)
        return True

    with Outlet(send, lost, buffer_bytes=3) as stalled:
        stalled.write(b"0")
        busy.wait()
        for number in range(1, 10):
            stalled.write(b"%d" % number)
        goes_on.set()
        assert [told.get(timeout=20) for _ in range(5)] == [b"0", b"1", b"2", b"3", lost(6)]
    assert told.empty()


def test_a_notice_that_cannot_be_sent_loses_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands for as many as it tells, and is tried again though nothing follows."""
    monkeypatch.setattr(outlet, "RETRY_SECONDS", 0.01)
    told: Queue[bytes] = Queue()
    is_away = threading.Event()
    is_away.set()

    def send(message: bytes) -> bool:
        if not is_away.is_set():
            told.put(message)
        return not is_away.is_set()

    with Outlet(send, lost, buffer_bytes=1000) as away:
        for number in range(10):
            away.write(b"%d" % number)
            time.sleep(0.02)
        while away.missed < 10:
            pass
        is_away.clear()
        assert told.get(timeout=20) == lost(10)
    assert told.empty()


def test_the_end_waits_for_no_reader_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was lost is told once more, or not."""
    monkeypatch.setattr(outlet, "RETRY_SECONDS", 60)
    tried = []

    def send(message: bytes) -> bool:
        tried.append(message)
        return False

    with Outlet(send, lost, buffer_bytes=1000) as away:
        away.write(b"0")
        while not away.missed:
            pass
    assert tried == [b"0", lost(1)]
