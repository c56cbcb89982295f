"""`python -m bench [PART...]`: prints the table; parts as in PARTS."""

from __future__ import annotations

import os
import platform
import sys

from bench import (
    agent_cost,
    agent_cpu,
    bind_cost,
    cgroup_cost,
    diff_cost,
    learn_cost,
    listener_cost,
    page_cost,
    pod_cost,
    policy_cost,
)
from bench.ground import prepared
from bench.rows import Row, table

PARTS = {
    "binds": bind_cost.measure,
    "policies": policy_cost.measure,
    "diffs": diff_cost.measure,
    "agent": agent_cost.measure,
    "cpu": agent_cpu.measure,
    "cgroups": cgroup_cost.measure,
    "pods": pod_cost.measure,
    "listeners": listener_cost.measure,
    "learning": learn_cost.measure,
    "page": page_cost.measure,
}


def main(wanted: list[str]) -> None:
    """Measure and print; a missed target is said, not an error: these machines are noisy."""
    rows: list[Row] = []
    with prepared() as ground:
        for name in wanted or PARTS:
            print(f"measuring {name} …", file=sys.stderr)
            rows.extend(PARTS[name](ground))
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
