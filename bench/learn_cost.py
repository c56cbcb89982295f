"""What logging every bind costs, and learning from, and replaying, what was logged."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bind_cost import BINDS, ROUNDS, hook_run_ns
from bench.comparators import enable_statistics
from bench.ground import Ground
from bench.policy_cost import PORTWATCH
from bench.rows import Row

LOGGED = 100_000
WORKLOADS = 200
ADDRESSES = ("0.0.0.0", "127.0.0.1")
PORTS = 50  # of each


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about `run --log-binds`, `learn` and `replay`."""
    yield from _logging(ground)
    log, policy = ground.folder / "binds.jsonl", ground.folder / "learned.yaml"
    _write_log(log)
    learned, mib = _timed("learn", "--events", str(log), into=policy)
    note = f"{mib:.0f} MiB at most"
    yield Row(f"learn from {LOGGED:,} binds of {WORKLOADS} workloads", "s", learned, 3, note=note)
    replayed, mib = _timed("replay", str(policy), str(log))
    note = f"{mib:.0f} MiB at most"
    yield Row(f"replay of {LOGGED:,} binds by that policy", "s", replayed, note=note)


def _logging(ground: Ground) -> Iterator[Row]:
    """One kind of bind again and again, which is told once a second; and kinds that are all new."""
    places = {}
    for name in ("unlogged", "logged"):
        _, pins = places[name] = ground.guarded(name)
        ground.publish(pins, "version: 1")
    with contextlib.closing(ground.publisher(places["logged"][1])) as publisher:
        publisher.slots.log_binds(True)
    figures: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, enable_statistics())
        for number in range(ROUNDS):
            for name, (cgroup, pins) in places.items():
                for kinds in (1, 1000):
                    before = hook_run_ns(pins)
                    ground.binds(cgroup, BINDS, 1024 + number * 1000, kinds)
                    spent = (hook_run_ns(pins) - before) / BINDS
                    figures.setdefault((name, kinds), []).append(spent)
    for kinds, what in ((1, "one kind of bind"), (1000, "20,000 binds of 1,000 new kinds")):
        on, off = (statistics.median(figures[name, kinds]) for name in ("logged", "unlogged"))
        yield Row(f"run --log-binds, {what}: more than without", "ns", on - off)


def _write_log(path: Path) -> None:
    with path.open("w") as file:
        for number in range(LOGGED):
            unit = f"service-{'abcdefgh'[number % 8]}{number % WORKLOADS}x.service"
            port = 1024 + number % WORKLOADS * 100 + number // WORKLOADS * 7 % PORTS
            event = {
                "time": f"2026-01-02T03:{number // 60 % 60:02d}:{number % 60:02d}.000000Z",
                "kind": "bind",
                "verdict": "allowed",
                "bind": {
                    "protocol": "tcp",
                    "family": "ipv4",
                    "address": ADDRESSES[number // WORKLOADS % len(ADDRESSES)],
                    "port": port,
                    "requested_port": port,
                    "network": "host",
                },
                "workload": {"name": unit, "cgroup": f"/system.slice/{unit}", "unit": unit},
                "process": {"pid": 1, "comm": "x", "exe": "/usr/bin/x", "uid": 0, "gid": 0},
                "count": 1,
            }
            file.write(json.dumps(event, separators=(",", ":")) + "\n")


def _timed(*arguments: str, into: Path | None = None) -> tuple[float, float]:
    """Seconds, start of Python included, and MiB."""
    with (into or Path(os.devnull)).open("wb") as target:
        start = time.perf_counter()
        process = subprocess.Popen([*PORTWATCH, *arguments], stdout=target)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        return time.perf_counter() - start, usage.ru_maxrss / 1024
