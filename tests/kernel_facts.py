"""What one kernel gave in one run of the kernel tests: a file that docs/kernels.md is made from."""

from __future__ import annotations

import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from left_out import LEFT_OUT

from portwatch.kernel.features import Feature
from portwatch.kernel.mounts import active_lsms
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.kernel.uncovered import uncovered

LOADED = pytest.StashKey[dict[str, Any]]()
"""What the programs that the tests share could have of this kernel."""


def facts_of(pin_dir: PinDir) -> dict[str, Any]:
    """Features, hooks and gaps of a load, the gaps by name, as on the root of the hierarchy."""
    readings = Readings(pin_dir)
    features = readings.features
    attached = [hook.name for hook in readings.hooks() if hook.attached]
    readings.close()
    return {
        "features": [str(feature.name) for feature in Feature if features & feature],
        "hooks": attached,
        "gaps": list(uncovered(features, set(attached))),
    }


class FactsFile:
    """A pytest plugin: writes the facts where all tests were run to their end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed: set[str] = set()
        self._outcomes: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passed by its call; it failed by any of its phases."""
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call":
            self._outcomes[report.outcome] += 1

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write, unless pytest was interrupted or found nothing to do."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        facts = {
            "kernel": platform.release(),
            "lsms": sorted(active_lsms()),
            **session.config.stash.get(LOADED, {}),
            "tests": {
                "of": list(session.config.args),
                "passed": self._outcomes["passed"],
                "failed": sorted(self._failed),
                "left out": session.config.stash[LEFT_OUT],
            },
        }
        self._path.write_text(json.dumps(facts, indent=1) + "\n")
