"""What tests of several kinds share lies beside those it was written for; importable here.

What this kernel cannot run is deselected, and it is said so, with the number: tests marked `guest`
where it takes no LSM programs (`make test` runs them in a guest, docs/kernels.md), and the cases of
a protocol that it was built without.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from portwatch.kernel.features import Feature
from portwatch.kernel.probe import probe

TESTS = Path(__file__).parent

# policy_strategies (unit); scratch, binder and guard (kernel).
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "kernel")]

OPTIONAL_PROTOCOLS = {
    "udplite": (socket.SOCK_DGRAM, 136),  # not in 7.2 any more
    "mptcp": (socket.SOCK_STREAM, 262),  # not in Debian's 5.10
}

left_out = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot be run on this kernel."""
    config.stash[left_out] = []
    marked = [item for item in items if item.get_closest_marker("guest")]
    for item in marked:
        if not item.path.is_relative_to(TESTS / "kernel"):
            raise pytest.UsageError(f"{item.nodeid}: guests run tests/kernel only")
    if marked and Feature.LSM not in probe().features:
        reason = "need a kernel that takes LSM programs: `make test` has a guest run them"
        _leave_out(config, items, marked, reason)
    for protocol, kind in OPTIONAL_PROTOCOLS.items():
        if not _has(*kind):
            cases = [item for item in items if protocol in item.name.partition("[")[2]]
            _leave_out(config, items, cases, f"are of {protocol}, which this kernel has not")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run."""
    for line in terminalreporter.config.stash.get(left_out, []):
        terminalreporter.write_line(line)


def _leave_out(
    config: pytest.Config, items: list[pytest.Item], those: list[pytest.Item], reason: str
) -> None:
    if those:
        config.hook.pytest_deselected(items=those)
        config.stash[left_out].append(f"{len(those)} tests {reason}")
        gone = set(those)
        items[:] = [item for item in items if item not in gone]


def _has(kind: int, protocol: int) -> bool:
    try:
        socket.socket(socket.AF_INET, kind, protocol).close()
    except OSError:
        return False
    return True
