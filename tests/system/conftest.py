"""Of a machine with systemd that has portwatch installed: tests/guest/run-system makes one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bind_loop import BindLoop
from unit import POLICY, Unit

PORT = 28000


@pytest.fixture
def agent() -> Iterator[Unit]:
    """portwatch.service, up, with the policy that it was installed with; up again afterwards."""
    text = POLICY.read_text()
    unit = Unit("portwatch.service")
    unit.wait_until_active()
    yield unit
    POLICY.write_text(text)
    unit.call("reset-failed")
    unit.call("restart")
    unit.wait_until_active()


@pytest.fixture
def storm() -> Iterator[BindLoop]:
    """A process that tries to bind a denied port all through the test, and never may have it."""
    loop = BindLoop(PORT)
    loop.wait_for_attempts()
    yield loop
    loop.wait_for_attempts()
    assert loop.end() == 0, "a bind got through"
