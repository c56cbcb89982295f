"""The agent with its web server, put together; `run` imports it while the programs compile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from portwatch.agent.agent import Agent, Emit, SideWork
from portwatch.agent.clock import Clock
from portwatch.agent.identity.container_asking import names_containers
from portwatch.agent.identity.container_watch import ContainerWatch
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.memory import keep_one_heap
from portwatch.agent.metrics.metrics import PortwatchCollector, make_registry
from portwatch.agent.metrics.web import WebConfigCollector
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.state import AgentState
from portwatch.agent.web.pages import agent_pages
from portwatch.agent.web.server import WebServer
from portwatch.cli.enforcement import HOST, open_publisher
from portwatch.cli.web_options import WebOptions
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.sockets import EngineSocket

if TYPE_CHECKING:
    from portwatch.agent.web.look import Outlook

ENGINE_SECONDS = 0.5
"""At start engines have that long to say whose the running containers are, where the policy names
any: until they do, a container is known by its id alone."""


def serve(
    pins: PinDir,
    tree: CgroupTree,
    source: PolicySource,
    loaded: LoadedPolicy,
    web: WebOptions,
    max_series: int,
    emit: Emit,
    beside: SideWork,
    engines: Sequence[EngineSocket],
    log_binds: bool,
) -> None:
    """Put the policy in force and serve until a signal ends it, with `beside` in the same loop."""
    keep_one_heap()
    book = ContainerBook()
    with (
        closing(ContainerWatch(tree, HOST, book, engines)) as containers,
        open_publisher(pins, tree, book, containers) as publisher,
        closing(Readings(pins)) as readings,
    ):
        if names_containers(loaded.policy):
            containers.seen(tree.scan())
            containers.search_monitors()
            containers.wait(ENGINE_SECONDS)
        state = AgentState(
            map_fill=lambda: publisher.map_fill,
            unclassified=lambda: publisher.cgroups.unclassified,
        )
        agent = Agent(
            pins, source, publisher, readings, state, emit, max_series, containers, log_binds
        )
        with closing(agent):
            collector = PortwatchCollector(readings, publisher.names, state, max_series)
            registry = make_registry(collector)
            if web.config:
                registry.register(WebConfigCollector(web.config))

            def outlook() -> Outlook:
                from portwatch.agent.web.look import Outlook

                return Outlook(publisher, readings, state, tree, HOST, Clock())

            pages = agent_pages(agent.unready_reason, outlook)
            server = WebServer(web.open(), registry, pages, web.config)
            try:
                agent.publish(loaded)
                server.start()
                click.echo(
                    f"portwatch: {loaded.origin} in force ({loaded.policy.mode}), metrics on "
                    f"{' and '.join(url + '/metrics' for url in server.urls)}; Ctrl-C ends it",
                    err=True,
                )
                agent.run(beside)
            finally:
                server.stop()
