"""What cannot be run here is left out by what it needs, and it is said so: how many, and why."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from portwatch.kernel.features import Feature
from portwatch.kernel.probe import kernel_version, probe

TESTS = Path(__file__).parent

# What is called by one of these needs it.
OPTIONAL_PROTOCOLS = {
    "udplite": (socket.SOCK_DGRAM, 136),  # not in 7.2 any more
    "mptcp": (socket.SOCK_STREAM, 262),  # not in Debian's 5.10
}

LeftOut = dict[str, int]
"""Reason → how many tests."""

LEFT_OUT = pytest.StashKey[LeftOut]()


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this kernel, or emulation, cannot run; the reasons are kept in the stash."""
    reasons: dict[pytest.Item, str] = {}
    for item, reason in _reasons(config, items):
        reasons.setdefault(item, reason)
    config.stash[LEFT_OUT] = dict(Counter(reasons.values()))
    if reasons:
        config.hook.pytest_deselected(items=list(reasons))
    items[:] = [item for item in items if item not in reasons]


def has_protocol(name: str) -> bool:
    """Whether this kernel has sockets of it."""
    if name not in OPTIONAL_PROTOCOLS:
        return True
    try:
        socket.socket(socket.AF_INET, *OPTIONAL_PROTOCOLS[name]).close()
    except OSError:
        return False
    return True


def _reasons(config: pytest.Config, items: list[pytest.Item]) -> Iterator[tuple[pytest.Item, str]]:
    needing = [(item, _needs(item)) for item in items]
    features = probe().features if any(needed for _, needed in needing) else Feature(0)
    lacking = [protocol for protocol in OPTIONAL_PROTOCOLS if not has_protocol(protocol)]
    for item, needed in needing:
        for mark in item.iter_markers("native"):
            if config.getoption("emulated"):
                yield item, f"are not for an emulated CPU: {mark.args[0]}"
        for protocol in lacking:
            if protocol in item.name.lower():
                yield item, f"are of {protocol}, which this kernel has not"
        for mark in item.iter_markers("since"):
            version, what = mark.args
            if kernel_version() < tuple(int(part) for part in version.split(".")):
                yield item, f"need {version}, which {what}"
        if needed & ~features:
            names = " and ".join(str(one.name) for one in needed & ~features)
            yield item, f"need {names}, which this kernel has not"


def _needs(item: pytest.Item) -> Feature:
    needed = Feature(0)
    for mark in item.iter_markers("needs"):
        needed |= Feature[mark.args[0]]
    if item.get_closest_marker("guest"):
        if not item.path.is_relative_to(TESTS / "kernel"):
            raise pytest.UsageError(f"{item.nodeid}: guests run tests/kernel only")
        needed |= Feature.LSM
    return needed
