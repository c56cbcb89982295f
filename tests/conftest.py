"""What tests of several kinds share lies beside those it was written for; importable here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings
from kernel_facts import FactsFile
from left_out import LEFT_OUT, leave_out

TESTS = Path(__file__).parent

settings.register_profile("any-machine", deadline=None)  # no test is about how fast a machine is
settings.load_profile("any-machine")

# policy_strategies (unit); scratch, binder and guard (kernel).
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "kernel")]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of tests/guest, which says what the kernel is run by and wants to know what it gave."""
    parser.addoption("--emulated", action="store_true", help="on an emulated CPU: what it can bear")
    parser.addoption("--facts", type=Path, help="write what this kernel gave here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Have the facts written where somebody wants them."""
    if path := config.getoption("facts"):
        config.pluginmanager.register(FactsFile(path))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot be run on this kernel."""
    leave_out(config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run."""
    for reason, count in terminalreporter.config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{count} tests {reason}")
