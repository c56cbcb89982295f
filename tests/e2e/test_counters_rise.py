"""No counter goes back: not over restarts, reloads, bursts past the bounds or another version."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from product import AgentProcess, eventually
from prometheus_client.openmetrics import parser
from sandbox import Sandbox, denying

from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir

STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
OWN = ("portwatch_events", "process_cpu_seconds")
"""Of one agent's life: these begin anew with it, as scrapers expect of a new process."""

Series = dict[tuple[str, ...], float]


@contextmanager
def statistics_on() -> Iterator[None]:
    """The kernel counts the runs of BPF programs."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


def counters(agent: AgentProcess) -> Series:
    """Every series of every counter that outlasts an agent."""
    text = agent.page("/metrics", Accept=OPENMETRICS)[0].decode()
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): float(
            sample.value
        )
        for family in parser.text_string_to_metric_families(text)
        if family.type == "counter" and family.name not in OWN
        for sample in family.samples
    }


def pretend_another_version(pin_dir: Path) -> None:
    """Make the pins say that their programs were compiled from another source."""
    meta = PinDir(pin_dir).open_map("meta")
    known = layout.Meta.from_buffer_copy(meta.get(bytes(4)) or b"")
    known.source_sha256[:] = [7] * 32
    meta.put(bytes(4), bytes(known))
    meta.close()


def test_no_counter_goes_back(sandbox: Sandbox) -> None:
    """Through a burst past --max-series, a reload, `apply`, another version's programs under the
    running agent, and a crash: each series that was there is there, and none is lower."""
    policy = sandbox.policy(denying("20000-20999"))
    options = ("--keep", "--max-series", 10)
    agent = sandbox.agent(policy, *options)
    binder = sandbox.binder()
    before: Series = {}
    port = 20000

    def more(count: int = 7) -> None:
        nonlocal port
        assert {binder.bind(port + n) for n in range(count)} == {"EACCES"}
        assert {binder.bind(20000 + n) for n in range(count)} == {"EACCES"}
        assert binder.bind(19000 + port % 1000, hold=True) == "ok"
        assert binder.bind(19000 + port % 1000) == "EADDRINUSE"
        port += count

    def check(what: str) -> None:
        nonlocal before
        now = counters(agent)
        fallen = {one: (value, now.get(one)) for one, value in before.items()}
        fallen = {one: pair for one, pair in fallen.items() if pair[1] is None or pair[1] < pair[0]}
        assert not fallen, what
        before = now

    def generation() -> float:
        return agent.metric("portwatch_policy_generation")

    with statistics_on():
        more(5)
        check("at first")
        more(30)
        check("a burst past the bound")
        assert agent.metric("portwatch_series_folded", metric="portwatch_violations_total") == 25
        was = generation()
        agent.process.send_signal(signal.SIGHUP)
        eventually(lambda: generation() > was)
        more()
        check("a reload")
        was = generation()
        applied = sandbox.policy(denying("20000-20999") + "    \n", "other.yaml")
        assert sandbox.run("apply", applied).returncode == 0
        eventually(lambda: generation() > was)
        more()
        check("a policy of another process")
        programs = sandbox.program_ids()
        pretend_another_version(sandbox.pin_dir)
        sandbox.load(policy)
        assert not set(sandbox.program_ids().values()) & set(programs.values())
        check("another version's programs")
        more()
        check("and binds that these judged")
        agent.end(signal.SIGKILL)
        agent = sandbox.agent(policy, *options)
        check("a crash")
        more()
        check("and binds after it")
        pretend_another_version(sandbox.pin_dir)
        agent.end(signal.SIGKILL)
        agent = sandbox.agent(policy, *options)
        check("an upgrade by a new agent")
    assert agent.metric("portwatch_hook_runs_total", hook="bind4") > 100
    of_ports = {name: value for name, value in before.items() if "violations" in name[0]}
    assert len(of_ports) == 11
    assert sum(of_ports.values()) == agent.metric("portwatch_binds_total", verdict="denied")


def test_another_bound_is_as_a_new_counter(sandbox: Sandbox) -> None:
    """With another --max-series the same violations are shown under more labels: the sum stays."""
    policy = sandbox.policy(denying("20000-20999"))
    agent = sandbox.agent(policy, "--keep", "--max-series", 5)
    binder = sandbox.binder()
    assert {binder.bind(20000 + n) for n in range(20)} == {"EACCES"}
    total = "portwatch_violations_total"
    assert agent.metric(total, port="other") == 15
    agent.end()
    agent = sandbox.agent(policy, "--keep", "--max-series", 12)
    assert agent.metric(total, port="other") == 8
    assert agent.metric(total) == 20
