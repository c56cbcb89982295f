"""What it costs: in the kernel for each bind, and the agent."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import About, AnyPanel
from grafana.graphs import lines
from grafana.queries import of, rate

TITLE = "What it costs"
STATISTICS_OFF = "The kernel does not measure: sysctl kernel.bpf_stats_enabled=1 on the machines"
RUNS = rate(of("portwatch_hook_runs_total"))
SECONDS = rate(of("portwatch_hook_run_seconds_total"))


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield lines(
        About(
            8,
            "Time for each run of a hook",
            "How long a hook's program takes, on average. A bind pays bind4 or bind6 and the "
            "post_bind of its family; measuring itself adds some 45 ns.",
            unit="s",
            no_data=STATISTICS_OFF,
        ),
        ("{{hook}}", f"sum by (hook) ({SECONDS}) / (sum by (hook) ({RUNS}) > 0)"),
    )
    yield lines(
        About(
            8,
            "Runs of the hooks",
            "How often each hook's program runs.",
            unit="ops",
            no_data=STATISTICS_OFF,
        ),
        ("{{hook}}", f"sum by (hook) ({RUNS}) > 0"),
    )
    yield lines(
        About(
            8,
            "Share of a core spent in the hooks",
            "The time of all hooks together, of one core's, on each instance.",
            unit="percentunit",
            no_data=STATISTICS_OFF,
        ),
        ("{{instance}}", f"sum by (instance) ({SECONDS}) > 0"),
    )
    yield lines(
        About(
            8,
            "The agent's CPU",
            "Share of a core that the agent uses.",
            unit="percentunit",
        ),
        ("{{instance}}", rate(of("process_cpu_seconds_total"))),
    )
    yield lines(
        About(
            8,
            "The agent's memory",
            "Resident memory. The project's own bound is 40 MiB in the default configuration.",
            unit="bytes",
        ),
        ("{{instance}}", of("process_resident_memory_bytes")),
    )
    yield lines(
        About(
            8,
            "How long a scrape takes",
            "As Prometheus measures it, with the network's time.",
            unit="s",
        ),
        ("{{instance}}", of("scrape_duration_seconds")),
    )
