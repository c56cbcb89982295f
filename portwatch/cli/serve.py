"""The agent with its web server, put together; `run` imports it while the programs compile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from portwatch.agent.agent import Agent, SideWork
from portwatch.agent.clock import Clock
from portwatch.agent.events.teller import Emit
from portwatch.agent.hook_watch import Begin, HookWatch
from portwatch.agent.identity.container_asking import names_containers, names_pods
from portwatch.agent.identity.container_watch import ContainerWatch
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.agent.kubernetes.pod_file import PodFile, pods_path, read_pods
from portwatch.agent.memory import keep_one_heap
from portwatch.agent.metrics.metrics import PortwatchCollector, make_registry
from portwatch.agent.metrics.undeclared import UndeclaredCollector
from portwatch.agent.metrics.web import WebConfigCollector
from portwatch.agent.policy_keeper import Remember
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.state import AgentState
from portwatch.agent.web.pages import agent_pages
from portwatch.agent.web.server import WebServer
from portwatch.cli.enforcement import HOST, open_publisher
from portwatch.cli.kubernetes_options import PodSource
from portwatch.cli.web_options import WebOptions
from portwatch.errors import PortwatchError
from portwatch.kernel.held_pins import HeldPins
from portwatch.kernel.pins import PinDir
from portwatch.kernel.readings import Readings
from portwatch.node.cgroups import CgroupTree
from portwatch.node.engines.sockets import EngineSocket

if TYPE_CHECKING:
    from portwatch.agent.kubernetes.pod_watch import PodWatch
    from portwatch.agent.web.look import Outlook

ENGINE_SECONDS = 0.5
"""At start engines have that long to say whose the running containers are, where the policy names
any: until they do, a container is known by its id alone."""


POD_SECONDS = 3.0
"""And that long the API server has for its first list, where the policy asks what it says."""


NOBODY_TELLS = (
    "the policy names pods, and no API server is known here: all of them stay unknown\n"
    "  hint: --kube-config; docs/pods.md"
)


@dataclass(frozen=True)
class Service:
    """What `run` was asked for, and begun with. `refused`: why the policy's files are not what
    `loaded` is; `heal` has the loader run again, None where this process may not; `remember`
    gets the good versions of the files that come while the agent runs."""

    tree: CgroupTree
    source: PolicySource
    loaded: LoadedPolicy
    web: WebOptions
    max_series: int
    emit: Emit
    engines: Sequence[EngineSocket]
    log_binds: bool
    heal: Begin | None
    refused: PortwatchError | None = None
    pods: PodSource | None = None
    remember: Remember | None = None


def serve(pins: PinDir, service: Service, beside: SideWork) -> None:
    """Put the policy in force and serve until a signal ends it, with `beside` in the same loop."""
    keep_one_heap()
    tree, loaded = service.tree, service.loaded
    kept = read_pods(pods_path(pins.path)) if service.pods else None
    book = ContainerBook(kept.book if kept else PodBook())
    with (
        _pod_watches(book.pods, service.pods, pins) as pods,
        closing(HeldPins(pins)) as held,
        closing(ContainerWatch(tree, HOST, book, service.engines)) as containers,
        open_publisher(held.pin_dir, tree, book, [containers, *pods]) as publisher,
        closing(Readings(held.pin_dir)) as readings,
    ):
        if names_containers(loaded.policy):
            containers.seen(tree.scan())
            containers.search_monitors()
            containers.wait(ENGINE_SECONDS)
        if names_pods(loaded.policy):
            for one in pods:
                one.wait(POD_SECONDS)
            if not pods:
                click.echo(f"portwatch: {NOBODY_TELLS}", err=True)
        state = AgentState(
            map_fill=lambda: publisher.map_fill,
            unclassified=lambda: publisher.cgroups.unclassified,
        )
        agent = Agent(
            *(held.pin_dir, pins.path, service.source, publisher, readings, state),
            *(service.emit, service.max_series, containers, service.log_binds),
            remember=service.remember,
        )
        with closing(agent):
            hooks = HookWatch(held, publisher.slots, agent.tell, service.heal)
            collector = PortwatchCollector(readings, publisher.names, state, service.max_series)
            registry = make_registry(collector)
            if service.web.config:
                registry.register(WebConfigCollector(service.web.config))

            registry.register(
                UndeclaredCollector(readings, publisher.names, lambda: publisher.live)
            )
            for one in pods:
                from portwatch.agent.metrics.kubernetes import KubernetesCollector

                registry.register(KubernetesCollector(one))

            def outlook() -> Outlook:
                from portwatch.agent.web.look import Outlook

                return Outlook(publisher, readings, state, tree, HOST, Clock())

            pages = agent_pages(agent.unready_reason, outlook)
            server = WebServer(service.web.open(), registry, pages, service.web.config)
            try:
                agent.publish(loaded)
                if service.refused is not None:
                    agent.refuse(service.refused)
                server.start()
                click.echo(
                    f"portwatch: {loaded.origin} in force ({loaded.policy.mode}), metrics on "
                    f"{' and '.join(url + '/metrics' for url in server.urls)}; Ctrl-C ends it",
                    err=True,
                )
                for one in pods:
                    one.connect(agent.pods_changed)
                agent.run([beside, hooks, *pods])
            finally:
                server.stop()


@contextmanager
def _pod_watches(book: PodBook, source: PodSource | None, pins: PinDir) -> Iterator[list[PodWatch]]:
    """Who follows the pods; nobody where there is nobody to ask, which costs no memory then."""
    if source is None:
        yield []
        return
    from portwatch.agent.kubernetes.pod_objects import known_pod
    from portwatch.agent.kubernetes.pod_watch import PodWatch
    from portwatch.node.kubernetes.follower import PodFollower

    follower = PodFollower(source.server, source.node_name, known_pod)
    with closing(PodWatch(book, follower, PodFile(pods_path(pins.path), book))) as watch:
        follower.start()
        yield [watch]
