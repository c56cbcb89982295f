"""The one place for paths under /proc and /run, so that tests can point it at fixtures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostPaths:
    """Where this machine's proc and run are."""

    proc: Path = Path("/proc")
    run: Path = Path("/run")

    @property
    def mountinfo(self) -> Path:
        """What is mounted where, as this process sees it."""
        return self.proc / "self" / "mountinfo"

    def process(self, pid: int) -> Path:
        """The directory of one process."""
        return self.proc / str(pid)
