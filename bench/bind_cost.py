"""What a bind costs: BPF run time on the same hooks, side by side, and the whole system call."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.comparators import Comparator, enable_statistics, sys_exit_bind
from bench.ground import FIRST_PORT, Ground, policy_text
from bench.rows import Row
from portwatch.kernel import libbpf
from portwatch.kernel.hooks import ATTACH_PERF_EVENT, SYS_EXIT_BIND
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import hook_state

ROUNDS = 15
BINDS = 20_000
ON_OFF_ROUNDS = 101
HOOKS = ("bind4", "post_bind4", "tcp_get_port", "sys_exit_bind")
LISTENS = 5_000
CALLS = 2_000_000
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
    for name, port in (("asked for", FIRST_PORT), ("that the kernel picks", 0)):
        cost_ns = _listen_cost(ground, *guarded[1], port)
        yield Row(f"listen() on a port {name}, statistics included", "ns", cost_ns)
    with contextlib.ExitStack() as stack:
        for pins in (guarded[1000][1], listed, denied):
            stack.enter_context(_unwatched(pins))
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
                before = hook_run_ns(pins)
                ground.binds(cgroup, BINDS)
                figures.setdefault(name, []).append((hook_run_ns(pins) - before) / BINDS)
    return {name: statistics.median(rounds) for name, rounds in figures.items()}


def hook_run_ns(pins: PinDir, hooks: Iterable[str] = HOOKS) -> int:
    """Nanoseconds in these hooks so far, where BPF statistics are on."""
    return sum(hook_state(pins, hook).run_ns for hook in hooks)


def _listen_cost(ground: Ground, cgroup: Path, pins: PinDir, port: int) -> float:
    """Nanoseconds in the listen hook for each socket that is bound, listens and is closed."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, enable_statistics())
        before = hook_run_ns(pins, ["listen"])
        ground.binds(cgroup, LISTENS, port, listening=True)
        return (hook_run_ns(pins, ["listen"]) - before) / LISTENS


@contextlib.contextmanager
def _unwatched(pins: PinDir) -> Iterator[None]:
    """The tracepoint, which every process of the machine pays for, taken away meanwhile."""
    link = pins.links / SYS_EXIT_BIND.name
    if not link.exists():
        yield
        return
    program = libbpf.object_get(str(pins.programs / SYS_EXIT_BIND.name))
    link.unlink()
    try:
        yield
    finally:
        event = sys_exit_bind()
        made = libbpf.library().bpf_link_create(program, event, ATTACH_PERF_EVENT, None)
        libbpf.object_pin(libbpf.check(made, "sys_exit_bind"), str(link))
        for fd in (program, event, made):
            os.close(fd)


def _on_over_off(ground: Ground, guarded: Path, pins: PinDir) -> Iterator[Row]:
    """The whole of socket+bind+close, and a system call that does nothing, statistics off: with
    portwatch, in turns with a cgroup and a machine without it."""
    bare = ground.cgroup("off")
    rounds, calls = [], []
    for _ in range(ON_OFF_ROUNDS):
        on = ground.binds(guarded, BINDS)
        with _unwatched(pins):
            rounds.append((on, ground.binds(bare, BINDS), ground.binds(guarded, BINDS)))
    for _ in range(ROUNDS):
        on = ground.system_call(bare, CALLS)
        with _unwatched(pins):
            calls.append((on, ground.system_call(bare, CALLS)))
    on, off, hooks_only = (statistics.median(side) for side in zip(*rounds, strict=True))
    yield Row("socket+bind+close, on over off", "×", on / off, 1.025, note=f"{off:,.0f} ns off")
    yield Row("  the same without the watch for failed binds", "×", hooks_only / off, 1.025)
    on, off = (statistics.median(side) for side in zip(*calls, strict=True))
    yield Row("any system call, on over off", "ns", on - off, note=f"{off:,.0f} ns off")
