"""What the landing page costs: processor time, the first time under a policy and again."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from bench.ground import Ground
from bench.rows import Row
from portwatch.agent.web.landing import landing
from portwatch.agent.web.portmap import PortMaps
from portwatch.agent.web.view import InForce, Resident, SeenViolation, View
from portwatch.agent.web.whose import find
from portwatch.node.accounts import AccountTable
from portwatch.policy.source.load import parse_policy
from portwatch.policy.tables.compile import compile_policy

WORKLOADS = 200
CONSTRAINTS = 1000
LOOKS = 9
NOBODY = AccountTable({}, {})


def measure(_ground: Ground) -> Iterator[Row]:
    """The rows about the page."""
    view = _view()
    first, again, size = [], [], 0
    for _ in range(LOOKS):
        assert view.in_force
        maps = PortMaps(view.in_force.compiled)
        cost, size = _look_ms(view, maps)
        first.append(cost)
        again.append(_look_ms(view, maps)[0])
    what = f"landing page, {WORKLOADS} workloads, {CONSTRAINTS:,} constraints"
    yield Row(f"{what}: CPU", "ms", statistics.median(first), 200)
    yield Row("  the same again", "ms", statistics.median(again))
    yield Row("  its size", "KiB", size / 1024, 300)


def _look_ms(view: View, maps: PortMaps) -> tuple[float, int]:
    in_force = view.in_force
    assert in_force
    start = time.process_time()
    answer = landing(view, maps, lambda name: find(name, view, in_force), {})
    return (time.process_time() - start) * 1e3, len(answer.body)


def _view() -> View:
    """Every second constraint means one workload, the others all but one; each violates and
    listens."""
    chosen = random.Random(1)
    lines = ["mode: enforce", "constraints:"]
    for number in range(CONSTRAINTS):
        whom = "except" if number % 2 else "for"
        unit = f"{whom}: {{unit: svc-{number % WORKLOADS}.service}}"
        ports = f"{1024 + number * 60}-{1024 + number * 60 + chosen.randint(0, 70)}"
        lines.append(f"  - {{name: c{number}, {unit}, deny: [{ports}], reason: because}}")
    policy = parse_policy([("policy.yaml", "\n".join(lines) + "\n")], source="policy.yaml")
    in_force = InForce(1, policy, compile_policy(policy, NOBODY), NOBODY, "policy.yaml", 0.0)
    names = [f"svc-{number}.service" for number in range(WORKLOADS)]
    return View(
        now_seconds=60.0,
        in_force=in_force,
        enforcing_policy=True,
        residents={name: Resident(f"/system.slice/{name}") for name in names},
        violations=tuple(
            SeenViolation(
                f"c{chosen.randrange(CONSTRAINTS)}",
                name,
                "tcp",
                chosen.randint(1024, 65000),
                "denied",
                3,
                1.0,
            )
            for name in names
            for _ in range(5)
        ),
        listeners=tuple(
            ((name, "tcp", str(chosen.randint(1, 65535)), "wildcard", "allowed"), 1)
            for name in names
            for _ in range(3)
        ),
        surveyed_seconds=50.0,
    )
