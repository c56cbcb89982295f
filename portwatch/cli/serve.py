"""The agent with its web server, put together; `run` imports it while the programs compile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import click

from portwatch.agent.agent import Agent, Emit
from portwatch.agent.metrics import PortwatchCollector, make_registry
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.state import AgentState
from portwatch.agent.web import WebServer
from portwatch.cli.enforcement import open_publisher
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree


def serve(
    pins: PinDir,
    tree: CgroupTree,
    source: PolicySource,
    loaded: LoadedPolicy,
    listen: str,
    max_series: int,
    emit: Emit,
    when_in_force: Callable[[], None],
) -> None:
    """Put the policy in force and serve until a signal ends it."""
    with open_publisher(pins, tree) as publisher, closing(Readings(pins)) as readings:
        state = AgentState(
            map_fill=lambda: publisher.map_fill,
            unclassified=lambda: publisher.unclassified,
        )
        with closing(Agent(pins, source, publisher, readings, state, emit, max_series)) as agent:
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
                agent.run(when_in_force)
            finally:
                web.stop()
