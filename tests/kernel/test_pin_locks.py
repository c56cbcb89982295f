"""Who may change or serve a pin directory, and who has to wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from binder import Binder
from guard import Guard
from pinned import (
    DENY,
)
from refusals import heard

from portwatch.errors import AlreadyRunning, NotLoaded
from portwatch.kernel.pins import PinDir

HOLD = """
import sys
from pathlib import Path
from portwatch.kernel.pins import PinDir
from portwatch.kernel.probe import probe
with getattr(PinDir(Path(sys.argv[1])), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(pin_dir: PinDir, lock: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `serving` or `changing` until it is told to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(pin_dir.path), lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_one_agent_at_a_time(end: signal.Signals, scratch_pin_dir: PinDir) -> None:
    """serving() is one process's; a second gets AlreadyRunning with a hint; a holder that was
    killed holds nothing."""
    scratch_pin_dir.create()
    assert scratch_pin_dir.agent_pid() is None
    with held_elsewhere(scratch_pin_dir, "serving") as other:
        assert scratch_pin_dir.agent_pid() == other.pid
        with pytest.raises(AlreadyRunning) as caught, scratch_pin_dir.serving():
            pass
        assert "--pin-dir" in caught.value.hint
        with scratch_pin_dir.changing():
            pass  # the agent at rest keeps nobody from changing the policy
        os.kill(other.pid, end)
        other.wait()
        assert scratch_pin_dir.agent_pid() is None
        with (
            scratch_pin_dir.serving(),
            pytest.raises(AlreadyRunning),
            scratch_pin_dir.serving(),
        ):
            pass
    with scratch_pin_dir.serving():
        pass


def test_serving_where_nothing_is_loaded(scratch_pin_dir: PinDir) -> None:
    """There is nothing to serve where nothing was loaded."""
    with pytest.raises(NotLoaded), scratch_pin_dir.serving():
        pass


def test_a_swap_waits_for_one_that_runs(guard: Guard, binder: Binder) -> None:
    """Whoever publishes while another process changes the pins waits for it, and then publishes."""
    with held_elsewhere(guard.pin_dir, "changing") as other:
        start = time.monotonic()
        timer = threading.Timer(0.4, other.kill)
        timer.start()
        guard.publish(DENY)
        waited = time.monotonic() - start
        timer.join()
    assert 0.4 <= waited < 5
    assert binder.bind(9000) == heard()


def test_two_publishers_take_turns(guard: Guard, binder: Binder) -> None:
    """The last to publish wins; the other knows that it was superseded, and can publish again."""
    other = Guard(guard.pin_dir, guard.cgroup)
    guard.publish(DENY)
    other.publish(DENY.replace("9000", "9001"))
    assert [binder.bind(port) for port in (9000, 9001)] == ["ok", heard()]
    assert guard.publisher.superseded()
    assert not other.publisher.superseded()
    guard.publish(DENY.replace("9000", "9002"))
    assert [binder.bind(port) for port in (9000, 9001, 9002)] == ["ok", "ok", heard()]
    assert other.publisher.superseded()
    stored = other.publisher.stored()
    assert stored is not None
    assert stored.sources == (("policy.yaml", DENY.replace("9000", "9002")),)
    other.close()
