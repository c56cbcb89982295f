"""What a policy costs: parse, compile and swap; and what starting costs."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.ground import Ground, loaded_policy, policy_text
from bench.rows import Row
from portwatch.agent.publisher import now_stored
from portwatch.kernel.pins import PinDir
from portwatch.node.accounts import read_accounts

SWAPS = 9
STARTS = 5
PORTWATCH = [sys.executable, "-m", "portwatch.cli.main"]


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about policies and starting."""
    cgroup, pins = ground.guarded("policies")
    for constraints, target in ((1000, 300), (20, 40)):
        text = policy_text(constraints, ground.path_of(cgroup))
        figure = _swap_ms(ground, pins, text)
        yield Row(f"parse + compile + swap, {constraints:,} constraints", "ms", figure, target)
    policy = ground.folder / "policy.yaml"
    policy.write_text(policy_text(20, ground.path_of(cgroup)))
    start = ground.pin_dir("start")
    cold = [_start_seconds(cgroup, start, policy, keep=False) for _ in range(STARTS)]
    yield Row("cold start to enforcing", "s", statistics.median(cold), 1.0)
    _start_seconds(cgroup, start, policy, keep=True)
    again = [_start_seconds(cgroup, start, policy, keep=True) for _ in range(STARTS)]
    yield Row("restart on existing pins", "s", statistics.median(again), 0.3)
    yield Row("portwatch --help", "ms", _command_ms("--help"), 150)
    policy.write_text(policy_text(1000, ground.path_of(cgroup)))
    check = _command_ms("check", "--offline", str(policy))
    yield Row("portwatch check, 1,000 constraints", "ms", check, 500)


def _swap_ms(ground: Ground, pins: PinDir, text: str) -> float:
    """Until the new policy judges and the old one's readers are gone; in a running process."""
    figures = []
    with contextlib.closing(ground.publisher(pins)) as publisher:
        for _ in range(SWAPS):
            start = time.perf_counter()
            loaded = loaded_policy(text)
            stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
            publisher.publish(loaded.policy, stored, read_accounts())
            figures.append((time.perf_counter() - start) * 1e3)
    return statistics.median(figures)


def _start_seconds(cgroup: Path, pins: PinDir, policy: Path, keep: bool) -> float:
    """From starting `portwatch run` until it says that the policy is in force."""
    command = [*PORTWATCH, "run", "--policy", str(policy), "--cgroup", str(cgroup)]
    command += ["--pin-dir", str(pins.path), "--listen", "127.0.0.1:0", "--events", os.devnull]
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, *(["--keep"] if keep else [])], stderr=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stderr
        for line in agent.stderr:
            if "in force" in line:
                break
        seconds = time.perf_counter() - start
        agent.send_signal(signal.SIGINT)
    return seconds


def _command_ms(*arguments: str) -> float:
    figures = []
    for _ in range(STARTS * 2):
        start = time.perf_counter()
        subprocess.run([*PORTWATCH, *arguments], capture_output=True, check=True)
        figures.append((time.perf_counter() - start) * 1e3)
    return statistics.median(figures)
