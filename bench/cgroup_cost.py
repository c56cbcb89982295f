"""How soon a new cgroup is classified, and what a scan of many costs.

The agent is measured from outside. The two ways to learn of cgroups are compared in this process,
on the same publisher, while a child makes cgroups and notes when.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.agent_cost import running_agent
from bench.cgroup_followers import Follower, Tracepoints, Watches
from bench.ground import Ground, loaded_policy, policy_text
from bench.rows import Row
from portwatch.agent.identity.account_words import accounts_of
from portwatch.agent.publisher import Publisher, now_stored
from portwatch.kernel import layout
from portwatch.kernel.bpfmap import BpfMap

MADE = 1000
LEVELS = 5
LIFE_SECONDS = 0.002
BURST_LIFE_SECONDS = 1.0
MANY = 10_000
MANY_EACH = 100
SCANS = 5
POLL_SECONDS = 1e-4
NS_PER_MS = 1e6


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about cgroups."""
    yield _by_the_agent(ground)
    cgroup, pins = ground.guarded("cgroups")
    with contextlib.closing(ground.publisher(pins)) as publisher:
        loaded = loaded_policy(policy_text(20, ground.path_of(cgroup)))
        stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
        publisher.publish(loaded.policy, stored, accounts_of(loaded.policy))
        ways: dict[str, Callable[[], Follower]] = {
            "tracepoints": lambda: Tracepoints(pins),
            "inotify": lambda: Watches(ground.tree.mount_point, cgroup),
        }
        for how, what in MAKING.items():
            for way, begin in ways.items():
                with contextlib.closing(begin()) as follower:
                    yield _followed(follower, publisher, cgroup, how, f"{way}: {what}")
        yield from _scans(ground, publisher, cgroup, ways["inotify"])


def _by_the_agent(ground: Ground) -> Row:
    """From mkdir until the new cgroup's own id is in the kernel's table, polled from outside."""
    cgroup, pins = ground.cgroup("new"), ground.pin_dir("new")
    figures = []
    with running_agent(ground, cgroup, pins):
        table, control = pins.open_map("cgroups"), pins.open_map("control")
        for number in range(MADE):
            path = cgroup / f"child-{number}"
            start = time.perf_counter()
            path.mkdir()
            figures.append(_until_classified(table, control, path.stat().st_ino, start))
            path.rmdir()
        table.close()
        control.close()
    note = f"median {statistics.median(figures):.2g} ms, {MADE:,} in a row"
    what = "a new cgroup classified after mkdir, 99th percentile"
    return Row(what, "ms", _p99(figures), 10, note=note)


def _until_classified(table: BpfMap, control: BpfMap, number: int, start: float) -> float:
    generation = layout.Control.from_buffer_copy(control.get(bytes(4)) or bytes(8)).generation
    key = bytes(layout.CgroupKey(id=number, generation=generation))
    while table.get(key) is None:
        if time.perf_counter() - start > 1:
            return 1000.0
        time.sleep(POLL_SECONDS)  # a busy loop would take a CPU from the agent
    return (time.perf_counter() - start) * 1e3


def _p99(figures: list[float]) -> float:
    return sorted(figures)[int(len(figures) * 0.99)]


@dataclass
class Making:
    """A child that makes cgroups below `top`; its output, once it has ended, is when each was."""

    process: subprocess.Popen[bytes]
    output: bytes = b""

    @classmethod
    def begin(cls, how: str, top: Path) -> Making:
        """Start it."""
        command = [sys.executable, "-m", "bench.cgroup_cost", how, str(top)]
        return cls(subprocess.Popen(command, stdout=subprocess.PIPE))

    def read(self) -> bool:
        """Take what it says; True once it has ended."""
        assert self.process.stdout
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self.output += data
        return not data


def _followed(follower: Follower, publisher: Publisher, cgroup: Path, how: str, what: str) -> Row:
    """Latency of those that lived to be classified; the clock of both sides is the boot time."""
    start = len(str(cgroup)) - len(cgroup.name) - 1
    seen: dict[str, int] = {}
    list(follower.read())
    making = Making.begin(how, cgroup)
    with making.process, selectors.DefaultSelector() as selector:
        selector.register(follower, selectors.EVENT_READ)
        assert making.process.stdout
        selector.register(making.process.stdout, selectors.EVENT_READ, making)
        before = time.process_time()
        ended = False
        while not ended:
            for key, _ in selector.select():
                if key.data is making:
                    ended = making.read()
                    continue
                there = publisher.cgroups.classify_all(follower.read())
                now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                seen.update((path, now) for path in there if path not in seen)
        spent = (time.process_time() - before) * 1e3
    publisher.cgroups.classify_all(follower.read())
    made = {path[start:]: when for path, when in json.loads(making.output).items()}
    figures = [(seen[path] - when) / NS_PER_MS for path, when in made.items() if path in seen]
    note = f"median {statistics.median(figures):.2g} ms, {spent:.0f} ms of CPU"
    if len(figures) < len(made):
        note += f", {len(made) - len(figures)} never seen"
    return Row(f"  {what}", "ms", _p99(figures), note=note)


def _scans(
    ground: Ground, publisher: Publisher, cgroup: Path, watch: Callable[[], Follower]
) -> Iterator[Row]:
    made = []
    for number in range(MANY // MANY_EACH):
        top = cgroup / f"top-{number}"
        made += [top, *(top / f"child-{child}" for child in range(MANY_EACH - 1))]
    for path in made:
        path.mkdir()
    try:
        scans = [_took_ms(ground.tree.scan) for _ in range(SCANS)]
        yield Row(f"a scan of {MANY:,} cgroups", "ms", statistics.median(scans), 1000)
        yield Row(
            "  the first, all of them classified", "ms", _took_ms(publisher.cgroups.rescan), 1000
        )
        yield Row("  the next, nothing new", "ms", _took_ms(publisher.cgroups.rescan), 1000)
        yield _watched(watch)
    finally:
        for path in reversed(made):
            path.rmdir()
        publisher.cgroups.rescan()


def _watched(watch: Callable[[], Follower]) -> Row:
    limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    slab_before = _slab_kib()
    start = time.perf_counter()
    with contextlib.closing(watch()):
        took = (time.perf_counter() - start) * 1e3
        slab = _slab_kib() - slab_before
    note = f"{MANY:,} watches of {limit:,} allowed, {slab / 1024:.1f} MiB of the kernel's memory"
    return Row("  inotify: watching them", "ms", took, note=note)


def _slab_kib() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Slab:"))


def _took_ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


MAKING = {
    "row": f"made and removed in a row, after {LIFE_SECONDS * 1e3:g} ms each",
    "burst": f"{MADE:,} made at once",
    "nested": f"{MADE:,} made at once, {LEVELS} deep",
}


def _make(how: str, top: Path) -> None:
    """The child: makes, removes, and prints path → nanoseconds of boot time before its mkdir."""
    made: dict[str, int] = {}
    for number in range(MADE if how == "row" else MADE // LEVELS if how == "nested" else MADE):
        path = f"{top}/{how}-{number}"
        for _ in range(LEVELS if how == "nested" else 1):
            made[path] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            os.mkdir(path)
            path += "/inner"
        if how == "row":
            time.sleep(LIFE_SECONDS)
            os.rmdir(next(reversed(made)))
    if how != "row":
        time.sleep(BURST_LIFE_SECONDS)
        for path in reversed(made):
            os.rmdir(path)
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    _make(sys.argv[1], Path(sys.argv[2]))
