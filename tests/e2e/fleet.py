"""A fleet: real agents, each on a scratch cgroup and pins of its own, scraped by one Prometheus.

Every node has the same policy in force, but for those that play a part: see ROLES. What the script
makes happen is all that may be on the dashboard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from product import AgentProcess, eventually
from prometheus_server import PrometheusServer
from sandbox import Sandbox, temporary_sandbox
from watched import changing

SIZE = int(os.environ.get("PORTWATCH_FLEET", "7"))  # `make test-fleet` has 20
ROLES = ("records", "broken", "down", "away", "next", "refused")
"""Node by node, from the first: its policy only records; a hook is gone; its agent was killed; it
is no target any more; it has the next policy already; it refused a bad one. Others are ordinary."""

SCRAPE_SECONDS = 30
POLICY = """\
version: 1
mode: enforce
define:
  workloads: {shop: {cgroup: "/**/shop"}, batch: {cgroup: "/**/batch"}}
constraints:
  - {name: reserved, deny: [9001/tcp], reason: taken}
  - {name: trial, mode: record, deny: [9002/tcp]}
"""
NEXT = POLICY.replace("9002", "9002-9003")
BAD = POLICY.replace("deny", "dney")
DENIED, RECORDED = 3, 2
"""Binds by `shop` on the first node, one more on each further one; by `batch` on every other."""


@dataclass
class FleetNode:
    """One machine of the fleet."""

    number: int
    sandbox: Sandbox
    agent: AgentProcess
    sha256: str = ""

    @property
    def role(self) -> str:
        """What it plays, if anything."""
        return ROLES[self.number] if self.number < len(ROLES) else ""

    @property
    def instance(self) -> str:
        """The agent as Prometheus calls it."""
        return urlsplit(self.agent.url).netloc

    @property
    def denied(self) -> int:
        """How many binds of its `shop` were denied."""
        return 0 if self.role == "records" else DENIED + self.number

    @property
    def shop_recorded(self) -> int:
        """How many of the same were recorded, where the policy only does that."""
        return DENIED + self.number if self.role == "records" else 0

    @property
    def recorded(self) -> int:
        """How many binds of its `batch` were recorded."""
        return RECORDED if self.number % 2 else 0


@dataclass
class Fleet:
    """`binds_at` and `parts_at`: when all had been scraped, before and after the parts."""

    nodes: list[FleetNode]
    prometheus: PrometheusServer
    binds_at: float = 0.0
    parts_at: float = 0.0
    held: ExitStack = field(default_factory=ExitStack)

    def by_role(self, role: str) -> FleetNode:
        """The node that plays a part."""
        return self.nodes[ROLES.index(role)]

    def scraped(self, nodes: list[FleetNode]) -> float:
        """Wait until each of these was scraped twice more: when that was."""
        for _ in range(2):
            last = self._now()
            eventually(
                lambda after=last: all(
                    self._times().get(node.instance, 0.0) > after for node in nodes
                ),
                SCRAPE_SECONDS,
                "all are scraped",
            )
        return self._now()

    def _now(self) -> float:
        return max(self._times().values(), default=0.0)

    def _times(self) -> dict[str, float]:
        answer = self.prometheus.query("timestamp(portwatch_enforcing)")
        return {dict(labels)["instance"]: at for labels, at in answer.items()}


@contextmanager
def living_fleet(folder: Path, size: int = SIZE) -> Iterator[Fleet]:
    """Started, bound on, scraped; then every part is played, and that scraped, too."""
    with ExitStack() as stack:
        sandboxes = []
        for number in range(size):
            (folder / f"node-{number}").mkdir()
            sandboxes.append(stack.enter_context(temporary_sandbox(folder / f"node-{number}")))
        with ThreadPoolExecutor(2) as pool:  # as many compilers as there are CPUs
            nodes = list(pool.map(_node, range(size), sandboxes))
        targets = folder / "targets.json"
        _write_targets(targets, nodes)
        data = folder / "prometheus"
        data.mkdir()
        job = {"job_name": "portwatch", "file_sd_configs": [{"files": [str(targets)]}]}
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
        prometheus = PrometheusServer(data, config)
        stack.callback(prometheus.close)
        fleet = Fleet(nodes, prometheus)
        stack.callback(fleet.held.close)
        fleet.scraped(nodes)
        for node in nodes:
            _bind(node)
        fleet.binds_at = fleet.scraped(nodes)
        _play(fleet, targets)
        yield fleet


def _node(number: int, sandbox: Sandbox) -> FleetNode:
    options = ["--keep", "--no-collisions"]
    if number < len(ROLES) and ROLES[number] == "records":
        options.append("--mode=record")
    text = NEXT if number < len(ROLES) and ROLES[number] == "next" else POLICY
    agent = sandbox.agent(sandbox.policy(text), *options)
    return FleetNode(number, sandbox, agent, sandbox.status()["policy"]["sha256"])


def _bind(node: FleetNode) -> None:
    shop, batch = (node.sandbox.binder(node.sandbox.make(name)) for name in ("shop", "batch"))
    said = "ok" if node.role == "records" else "EACCES"
    for _ in range(DENIED + node.number):
        assert shop.bind(9001) == said
    for _ in range(node.recorded):
        assert batch.bind(9002) == "ok"


def _write_targets(path: Path, nodes: list[FleetNode]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps([{"targets": [node.instance for node in nodes]}]))
    new.rename(path)


def _play(fleet: Fleet, targets: Path) -> None:
    prometheus = fleet.prometheus
    broken = fleet.by_role("broken").sandbox
    fleet.held.enter_context(changing(broken.pin_dir))  # until then the healer waits
    (broken.pin_dir / "links" / "post_bind6").unlink()
    (fleet.by_role("refused").sandbox.folder / "policy.yaml").write_text(BAD)
    down = fleet.by_role("down").agent
    down.process.kill()
    down.wait()
    _write_targets(targets, [node for node in fleet.nodes if node.role != "away"])
    for wanted in (
        "count(portwatch_enforcing == 0) == 2",
        "count(portwatch_policy_last_load_successful == 0) == 1",
        "count(up == 0) == 1",
        f"count(up) == {len(fleet.nodes) - 1}",
    ):
        eventually(lambda query=wanted: prometheus.query(query), SCRAPE_SECONDS, wanted)
    fleet.parts_at = fleet.scraped([n for n in fleet.nodes if n.role not in {"down", "away"}])
