"""A systemd unit, as systemctl and the journal show it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLICY = Path("/etc/portwatch/policy.d/policy.yaml")
START_SECONDS = 120
METRICS = "http://127.0.0.1:9477/metrics"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command to its end, its output as text."""
    return subprocess.run(command, check=False, text=True, capture_output=True)


def eventually(probe: Callable[[], Any], within: float = 30.0, what: str = "") -> Any:
    """The first true answer of `probe`; fails where there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {within} s: {what or probe!r}"
        time.sleep(0.1)
    return answer


def metric(name: str, **labels: str) -> float:
    """The sum of the agent's samples of that name that have these labels; -1 where there are none,
    or it does not answer."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    try:
        with urllib.request.urlopen(METRICS, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return -1
    samples = (re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line) for line in lines)
    found = [float(one[2]) for one in samples if one and wanted <= set((one[1] or "").split(","))]
    return sum(found) if found else -1


class Unit:
    """One unit by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, verb: str) -> int:
        """`systemctl VERB`, waited for; the exit status."""
        return run("systemctl", verb, self.name).returncode

    def show(self, name: str) -> str:
        """One property's value."""
        return run("systemctl", "show", "--property", name, "--value", self.name).stdout.strip()

    @property
    def pid(self) -> int:
        """Of its main process; 0 where it has none."""
        return int(self.show("MainPID") or 0)

    def wait_until_active(self, but: int = 0) -> None:
        """Until systemd takes it for started, with another main process than `but`."""
        eventually(
            lambda: self.show("ActiveState") == "active" and self.pid not in (0, but),
            START_SECONDS,
            f"{self.name} is active:\n{self.log}",
        )

    @property
    def log(self) -> str:
        """What it has in the journal since the boot."""
        return run("journalctl", "-b", "-o", "cat", "--no-pager", "-u", self.name).stdout

    @property
    def events(self) -> list[dict[str, str]]:
        """What it has told since the boot: the journal's PORTWATCH_ fields, their names in lower
        case."""
        done = run("journalctl", "-b", "-q", "--all", "-o", "json", "-u", self.name)
        prefix = "PORTWATCH_"
        entries = (json.loads(line) for line in done.stdout.splitlines())
        told = (
            {name.removeprefix(prefix).lower(): entry[name] for name in entry if prefix in name}
            for entry in entries
        )
        return [one for one in told if one]

    def wait_for_event(self, **fields: str) -> dict[str, str]:
        """The latest event with these fields."""
        return eventually(
            lambda: next(
                (one for one in reversed(self.events) if fields.items() <= one.items()), None
            ),
            what=str(fields),
        )
