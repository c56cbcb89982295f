"""A scripted day of one machine, watched over TLS by a real Prometheus.

Binds by real processes in scratch cgroups, then everything that goes wrong, and when each was.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from product import AgentProcess, eventually, run_command
from prometheus_server import PrometheusServer, secured_config
from sandbox import Sandbox
from secured_agent import PASSWORD, secure

STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
POLICY = """\
version: 1
mode: enforce
define:
  workloads: {{shop: {{cgroup: "{home}/shop"}}, batch: {{cgroup: "{home}/batch"}}}}
constraints:
  - {{name: reserved, deny: [9001/tcp, 9005/tcp], reason: taken}}
  - {{name: trial, mode: record, deny: [9002/udp]}}
  - {{name: flood, deny: [10000-49999/tcp]}}
"""
DENIED, RECORDED, BY_BATCH, COLLISIONS, ALLOWED, LATER = 23, 5, 4, 12, 17, 3
MAX_SERIES = 3


@dataclass
class Day:
    """What was done, when it had been scraped, and what else is known of it."""

    agent: AgentProcess
    prometheus: PrometheusServer
    status: dict[str, Any]
    began: float = 0.0
    at: dict[str, float] = field(default_factory=dict)
    page: str = ""
    bind4: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    flooded: int = 0

    @property
    def instance(self) -> str:
        """The agent as Prometheus calls it."""
        return urlsplit(self.agent.url).netloc


@contextmanager
def watched_day(sandbox: Sandbox, folder: Path) -> Iterator[Day]:
    """Live through it; Prometheus then still answers for every moment."""
    with ExitStack() as stack:
        shop, batch = (sandbox.binder(sandbox.make(name)) for name in ("shop", "batch"))
        assert batch.bind(9005, hold=True) == "ok", "before there is a policy"
        stack.enter_context(bpf_statistics())
        policy = sandbox.policy(POLICY.format(home=sandbox.path))
        secured = secure(sandbox.folder)
        options = ("--keep", "--max-series", MAX_SERIES, "--web.config.file", secured.config)
        agent = sandbox.agent(policy, *options)
        target = urlsplit(agent.url).netloc
        config = secured_config(folder, target, secured.ca, PASSWORD)
        prometheus = PrometheusServer(folder, config)
        stack.callback(prometheus.close)
        day = Day(agent, prometheus, sandbox.status())
        eventually(
            lambda: prometheus.query('portwatch_listeners{verdict="denied"}'), 20, "a survey"
        )
        day.began = prometheus.scraped()

        assert [shop.bind(9001) for _ in range(DENIED)] == ["EACCES"] * DENIED
        assert [shop.bind(9002, protocol="udp") for _ in range(RECORDED)] == ["ok"] * RECORDED
        assert [batch.bind(9001) for _ in range(BY_BATCH)] == ["EACCES"] * BY_BATCH
        assert [batch.bind(9003, protocol="udp") for _ in range(ALLOWED)] == ["ok"] * ALLOWED
        assert shop.bind(9100, hold=True) == "ok"
        assert [shop.bind(9100) for _ in range(COLLISIONS)] == ["EADDRINUSE"] * COLLISIONS
        day.at["first"] = prometheus.scraped()
        day.page = secured.page(f"{agent.url}/metrics")
        day.bind4 = program(sandbox, "bind4")

        assert [shop.bind(9001) for _ in range(LATER)] == ["EACCES"] * LATER
        day.at["later"] = prometheus.scraped()

        policy.write_text("version: 1\nconstraints: [{name: broken, deny: [99999/tcp]}]\n")
        eventually(lambda: prometheus.query("portwatch_policy_last_load_successful == 0"), 20)
        attached_again = stack.enter_context(ExitStack())
        attached_again.enter_context(changing(sandbox.pin_dir))  # until then it waits
        (sandbox.pin_dir / "links" / "post_bind6").unlink()
        secured.config.write_text("tls_server_config: {cert_file: nowhere.pem}\n")
        agent.process.send_signal(signal.SIGSTOP)
        while not sandbox.status()["events_lost"]:
            assert day.flooded < 40_000, "the ring buffer has an end"
            ports = range(10_000 + day.flooded, 14_000 + day.flooded)
            assert {shop.bind(port) for port in ports} == {"EACCES"}
            day.flooded += len(ports)
        agent.process.send_signal(signal.SIGCONT)
        day.lost = sandbox.status()["events_lost"]
        day.at["broken"] = prometheus.scraped()
        attached_again.close()
        eventually(lambda: prometheus.query("portwatch_hook_reattached_total == 1"), 30, "healed")
        day.at["healed"] = prometheus.scraped()

        agent.process.kill()
        agent.wait()
        down = eventually(lambda: prometheus.query("timestamp(up == 0)"), 20, "a failed scrape")
        day.at["down"] = max(down.values())
        yield day


@contextmanager
def changing(pin_dir: Path) -> Iterator[None]:
    """Hold the lock of whoever changes the pins."""
    held = os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextmanager
def bpf_statistics() -> Iterator[None]:
    """The kernel measures its BPF programs; afterwards as before."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1\n")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


def program(sandbox: Sandbox, hook: str) -> dict[str, int]:
    """`run_cnt` and `run_time_ns` of a hook's program, by bpftool."""
    path = sandbox.pin_dir / "programs" / hook
    done = run_command(["bpftool", "--json", "prog", "show", "pinned", str(path)])
    assert done.returncode == 0, done.stderr
    facts: dict[str, int] = json.loads(done.stdout)
    return facts
