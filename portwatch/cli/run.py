"""`run`: the agent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from portwatch.cli.options import cgroup_option, mode_option, pin_dir_option, policy_option


@click.command()
@policy_option
@cgroup_option
@mode_option
@click.option(
    "--listen",
    default="127.0.0.1:9477",
    show_default=True,
    metavar="ADDR:PORT",
    help="Where /metrics, /healthz and /readyz are served.",
)
@click.option("--keep", is_flag=True, help="Leave enforcement up at the end.")
@click.option(
    "--events",
    "events_path",
    metavar="PATH|-",
    help="Append events to PATH as JSON lines, `-` for stdout.  "
    "[default: stdout; in a terminal, for people]",
)
@click.option(
    "--max-series",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Series of portwatch_violations_total; the rest is counted under `other`.",
)
@pin_dir_option
def run(
    policy: Path | None,
    cgroup: Path | None,
    mode: Literal["enforce", "record"] | None,
    listen: str,
    keep: bool,
    events_path: str | None,
    max_series: int,
    pin_dir: Path,
) -> None:
    """Run the agent: load, enforce, follow the policy's files and SIGHUP, print events, serve
    metrics.

    Ctrl-C ends it and removes enforcement; with --keep, and after a crash, enforcement stays.
    """
    from portwatch.agent.policy_source import PolicySource
    from portwatch.cli.enforcement import cgroup_tree, load_programs, require_root
    from portwatch.cli.lockout import warn_of_lockouts
    from portwatch.kernel.loader import remove
    from portwatch.kernel.pins import PinDir, ensure_bpffs

    require_root()
    source = PolicySource(policy, mode)
    loaded = source.load()
    tree = cgroup_tree()
    pins = PinDir(pin_dir)
    ensure_bpffs(pin_dir)
    pins.create()
    with pins.serving():
        load_programs(pins, tree, cgroup)
        warn_of_lockouts(loaded.policy)
        try:
            _serve(pins, tree, source, loaded, listen, max_series, _event_printer(events_path))
        finally:
            if not keep:
                remove(pins)


def _serve(
    pins: Any,
    tree: Any,
    source: Any,
    loaded: Any,
    listen: str,
    max_series: int,
    emit: Callable[[dict[str, Any], bytes], None],
) -> None:
    from portwatch.agent.agent import Agent
    from portwatch.agent.metrics import AgentState, PortwatchCollector, make_registry
    from portwatch.agent.web import WebServer
    from portwatch.cli.enforcement import open_publisher
    from portwatch.kernel.readings import Readings
    from portwatch.kernel.uncovered import uncovered_gaps

    with open_publisher(pins, tree) as publisher:
        readings = Readings(pins)
        state = AgentState(
            map_fill=lambda: publisher.map_fill,
            unclassified=lambda: publisher.unclassified,
            uncovered=uncovered_gaps(readings.features),
        )
        agent = Agent(pins, source, publisher, readings, state, emit)
        collector = PortwatchCollector(readings, publisher.names, state, max_series)
        web = WebServer(listen, make_registry(collector), agent.unready_reason)
        try:
            agent.publish(loaded)
            web.start()
            click.echo(
                f"portwatch: {loaded.origin} in force ({loaded.policy.mode}), metrics on "
                f"{web.url}/metrics; Ctrl-C ends it",
                err=True,
            )
            agent.run()
        finally:
            web.stop()
            agent.close()
            readings.close()


def _event_printer(path: str | None) -> Callable[[dict[str, Any], bytes], None]:
    """Where events go: a file, stdout as JSON, or a terminal in words."""
    from portwatch.cli.event_line import event_line

    if path is None and sys.stdout.isatty():
        return lambda event, _line: click.echo(event_line(event))
    if path is None or path == "-":
        stdout = sys.stdout.buffer

        def to_stdout(_event: dict[str, Any], line: bytes) -> None:
            stdout.write(line)
            stdout.flush()

        return to_stdout
    from portwatch.agent.event_file import EventFile

    log = EventFile(Path(path))
    return lambda _event, line: log.write(line)
