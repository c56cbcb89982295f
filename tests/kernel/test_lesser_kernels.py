"""What a kernel lacks is degraded and named: the programs as an old kernel would get them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from binder import Bind, Binder
from guard import Guard
from scratch import temporary_cgroup, temporary_pin_dir

from portwatch.agent.events.process import binding_process
from portwatch.kernel.features import Feature
from portwatch.kernel.hooks import HOOKS
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.kernel.uncovered import uncovered
from portwatch.node.paths import HostPaths
from portwatch.node.processes import ProcessTable

# The loader as it is, but for what it believes the kernel to be able to.
LOADER = """
import sys
from portwatch.kernel import loader
from portwatch.kernel.features import Feature, KernelFacts
loader.probe = lambda: KernelFacts(Feature(0), ())
sys.exit(loader.main(sys.argv[1:]))
"""
N = 23


@pytest.fixture(scope="module")
def lesser() -> Iterator[tuple[PinDir, Path]]:
    """Programs compiled for a kernel with none of the features."""
    with temporary_cgroup() as cgroup, temporary_pin_dir() as pin_dir:
        command = [sys.executable, "-c", LOADER, str(pin_dir.path), str(cgroup)]
        done = subprocess.run(command, input="go", text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield pin_dir, cgroup


@pytest.fixture
def lesser_guard(lesser: tuple[PinDir, Path]) -> Iterator[tuple[Guard, Binder]]:
    """A guard over those programs, and a child that binds under it."""
    pin_dir, cgroup = lesser
    binder = Binder(cgroup)
    guard = Guard(pin_dir, cgroup, binder.network)
    yield guard, binder
    guard.close()
    binder.close()


def test_without_errno_a_denied_bind_says_eperm(lesser_guard: tuple[Guard, Binder]) -> None:
    """The bind is refused all the same, and event and counters tell what the process was told."""
    guard, binder = lesser_guard
    guard.publish(
        "mode: enforce\nconstraints:\n  - {name: no, deny: [9000], errno: EADDRNOTAVAIL}\n"
    )
    answers = binder.answers([Bind(9000), Bind(9000, "::1"), Bind(9001)], N)
    assert [answer.said for answer in answers] == ["EPERM", "EPERM", "ok"] * N
    assert {event.error for event in guard.events()} == {1}
    assert guard.verdicts() == {"denied": 2 * N, "allowed": N}


def test_without_a_refusal_that_gives_back_a_picked_port_is_recorded(
    lesser_guard: tuple[Guard, Binder],
) -> None:
    """Where post_bind cannot refuse cleanly, a picked port that a deny list names is recorded."""
    guard, binder = lesser_guard
    guard.publish("mode: enforce\nconstraints:\n  - {name: kept, deny: [40000]}\n")
    binder.pick_from(40000, 40000)
    assert [answer.said for answer in binder.answers([Bind(0)], N)] == ["ok"] * N
    assert guard.verdicts() == {"recorded": N}
    assert guard.violations == {("kept", "/", 40000, "tcp", "recorded"): N}


def test_without_types_v6_only_counts_as_exposed(lesser_guard: tuple[Guard, Binder]) -> None:
    """Where IPV6_V6ONLY cannot be read, `::` is judged as exposed on IPv4 too: the safe way."""
    guard, binder = lesser_guard
    guard.publish(
        'mode: enforce\nconstraints:\n  - {name: no, addresses: ["0.0.0.0"], deny: [9000]}\n'
    )
    assert binder.answers([Bind(9000, "::", v6only=True)])[0].said == "EPERM"
    assert binder.answers([Bind(9000, "::1")])[0].said == "ok"


def test_without_types_a_process_is_named_while_it_lives(
    lesser_guard: tuple[Guard, Binder],
) -> None:
    """Where the kernel records no start and no arguments, /proc is asked by name and time alone."""
    guard, binder = lesser_guard
    guard.publish("mode: enforce\nconstraints:\n  - {name: no, deny: [9000]}\n")
    assert binder.bind(9000) == "EPERM"
    (event,) = guard.events()
    assert (event.started_ns, event.namespace_pid, event.cmdline_bytes) == (0, 0, 0)
    alive = binding_process(event, ProcessTable(HostPaths()))
    binder.close()
    gone = binding_process(event, ProcessTable(HostPaths()))
    assert alive["exe"] == str(Path(sys.executable).resolve())
    assert "container_pid" not in alive
    assert gone.keys() == {"pid", "comm", "uid", "gid"}


def test_what_is_lacking_is_named(lesser: tuple[PinDir, Path]) -> None:
    """Each guarantee that is weaker is a gap with a name; on a kernel with all there are fewer."""
    readings = Readings(lesser[0])
    everything = uncovered(sum(Feature), {hook.name for hook in HOOKS}, on_a_part=True)
    lacking = readings.uncovered().keys() - everything.keys()
    readings.close()
    unseen = {"listen_without_bind", "bind_address_no_port", "sctp", "collision"}
    assert lacking == unseen | {"errno", "picked_port", "ipv6only", "host_network"}
