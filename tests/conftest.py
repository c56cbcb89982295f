"""What tests of several kinds share lies beside those it was written for; importable here.

Tests marked `guest` are deselected where the kernel takes no LSM programs, and it is said so:
`make test` runs them in a guest (docs/kernels.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portwatch.kernel.features import Feature
from portwatch.kernel.probe import probe

TESTS = Path(__file__).parent

# policy_strategies (unit); scratch, binder and guard (kernel).
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "kernel")]

waiting = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked `guest` to a guest where this kernel cannot run them."""
    marked = [item for item in items if item.get_closest_marker("guest")]
    for item in marked:
        if not item.path.is_relative_to(TESTS / "kernel"):
            raise pytest.UsageError(f"{item.nodeid}: guests run tests/kernel only")
    if marked and Feature.LSM not in probe().features:
        config.stash[waiting] = len(marked)
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run."""
    if count := terminalreporter.config.stash.get(waiting, 0):
        terminalreporter.write_line(
            f"{count} tests need a kernel that takes LSM programs: `make test` has a guest run them"
        )
