"""What unit tests of the engines start from: sockets of their own, where no engine is."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_servers import my_run

from portwatch.node.paths import HostPaths


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    """A machine with a /run of its own."""
    return HostPaths(run=tmp_path / "run")


@pytest.fixture
def run(host: HostPaths) -> Path:
    """Where the sockets of whoever runs the tests are."""
    return my_run(host)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the engine of a test listens."""
    return tmp_path / "engine.sock"
