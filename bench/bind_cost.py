"""What a bind costs: BPF run time on the same hooks, side by side, and the whole system call."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench.comparators import Comparator, enable_statistics
from bench.ground import FIRST_PORT, Ground, policy_text
from bench.rows import Row
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import hook_state

ROUNDS = 15
BINDS = 20_000
ON_OFF_ROUNDS = 101
HOOKS = ("bind4", "post_bind4")
DENY_LIST = (
    "  - {name: critical, deny: [2379-2380, 6443, 10250], except: {unit: kubelet.service}}\n"
)


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about binds."""
    empty, linear = ground.cgroup("empty"), ground.cgroup("linear")
    guarded = {count: ground.guarded(f"constraints-{count}") for count in (1, 1000)}
    listed_cgroup, listed = ground.guarded("deny-list")
    denied_cgroup, denied = ground.guarded("denied")
    for count, (cgroup, pins) in guarded.items():
        ground.publish(pins, policy_text(count, ground.path_of(cgroup)))
    text = policy_text(20, ground.path_of(listed_cgroup))
    ground.publish(listed, text.replace("constraints:\n", f"constraints:\n{DENY_LIST}"))
    rule = f"{{name: a, for: {{cgroup: {ground.path_of(denied_cgroup)}}}, deny: [{FIRST_PORT}]}}"
    ground.publish(denied, f"mode: enforce\nconstraints: [{rule}]")
    places = {
        "one": guarded[1],
        "thousand": guarded[1000],
        "listed": (listed_cgroup, listed),
        "denied": (denied_cgroup, denied),
    }
    cost = _bpf_costs(ground, empty, linear, places)
    base = cost["empty"]
    one, thousand = cost["one"] - base, cost["thousand"] - base
    yield Row("an allowed bind, all hooks, over empty programs", "ns", one, 150)
    yield Row("  the same under a policy with deny lists", "ns", cost["listed"] - base, 150)
    yield Row("  the same at 1,000 constraints", "ns", thousand, 150)
    yield Row("  1,000 constraints over 1", "×", thousand / one, 1.10)
    yield Row("  for comparison: a linear scan of 128 rules", "ns", cost["linear"] - base)
    yield Row("  for comparison: a denied bind, its event suppressed", "ns", cost["denied"] - base)
    yield Row("  for comparison: empty programs, statistics included", "ns", base)
    yield from _on_over_off(ground, *guarded[1])


def _bpf_costs(
    ground: Ground, empty: Path, linear: Path, places: dict[str, tuple[Path, PinDir]]
) -> dict[str, float]:
    """Median nanoseconds of BPF per bind, by name; the rounds of all take turns."""
    figures: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, enable_statistics())
        others = {
            "empty": (empty, stack.enter_context(Comparator("empty", empty))),
            "linear": (linear, stack.enter_context(Comparator("linear", linear))),
        }
        for _ in range(ROUNDS):
            for name, (cgroup, comparator) in others.items():
                before = comparator.run_ns()
                ground.binds(cgroup, BINDS)
                spent = comparator.run_ns() - before
                figures.setdefault(name, []).append(spent / BINDS)
            for name, (cgroup, pins) in places.items():
                before = _run_ns(pins)
                ground.binds(cgroup, BINDS)
                figures.setdefault(name, []).append((_run_ns(pins) - before) / BINDS)
    return {name: statistics.median(rounds) for name, rounds in figures.items()}


def _run_ns(pins: PinDir) -> int:
    return sum(hook_state(pins, hook).run_ns for hook in HOOKS)


def _on_over_off(ground: Ground, guarded: Path, _pins: PinDir) -> Iterator[Row]:
    """The whole of socket+bind+close, statistics off, in turns with a cgroup without portwatch."""
    bare = ground.cgroup("off")
    pairs = [
        (ground.binds(guarded, BINDS), ground.binds(bare, BINDS)) for _ in range(ON_OFF_ROUNDS)
    ]
    on, off = (statistics.median(side) for side in zip(*pairs, strict=True))
    yield Row("socket+bind+close, on over off", "×", on / off, 1.025, note=f"{off:,.0f} ns off")
