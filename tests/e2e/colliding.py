"""What tests of collisions share: processes that get into each other's way, and what is told."""

from __future__ import annotations

import socket

from binder import Binder, Step
from product import AgentProcess, Event, eventually
from sandbox import Sandbox

PORT = 9000
SOL_IPV6, IPV6_V6ONLY = 41, 26
TOLD_SECONDS = 15
POLICY = """\
version: 1
mode: record
define: {{workloads: {{till: {{cgroup: "{home}/shop"}}}}}}
"""


def start_agent(sandbox: Sandbox) -> AgentProcess:
    """At work under a policy that denies nothing, and calls the cgroup `shop` the till."""
    return sandbox.agent(sandbox.policy(POLICY.format(home=sandbox.path)), "--keep")


def together(sandbox: Sandbox, *names: str) -> list[Binder]:
    """A process in each of these cgroups, all in the first one's network."""
    binders: list[Binder] = []
    for name in names:
        cgroup = sandbox.home / name
        binder = sandbox.binder(
            cgroup if cgroup.is_dir() else sandbox.make(name), own_network=not binders
        )
        if binders:
            binder.ask(do="join_network", pid=binders[0].pid)
        binders.append(binder)
    return binders


def bind(
    binder: Binder, address: str, port: int, *more: Step, protocol: str = "tcp", **options: int
) -> str:
    """Bind a socket that stays open; what the first step that failed said."""
    steps: list[Step] = [("socket", protocol, "ipv6" if ":" in address else "ipv4")]
    if "v6only" in options:
        steps.append(("option", SOL_IPV6, IPV6_V6ONLY, options["v6only"]))
    if "reuseport" in options:
        steps.append(("option", socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))
    name = f"{protocol} {address} {port}"
    return binder.take(*steps, ("bind", address, port), *more, name=name).said


def told(agent: AgentProcess, port: int | None = None) -> list[Event]:
    """The collisions of a port, or all, that somebody at home had."""
    return [
        event
        for event in agent.events
        if event["kind"] == "collision"
        and event["workload"].get("cgroup", "").startswith(agent.home)
        and port in (None, event["bind"]["port"])
    ]


def one_told(agent: AgentProcess, port: int) -> Event:
    """The first of that port."""
    event: Event = eventually(lambda: told(agent, port), TOLD_SECONDS, f"{port} is told")[0]
    return event


def counted(agent: AgentProcess, sandbox: Sandbox, **labels: str) -> float:
    """What the metric says of a workload at home."""
    name = labels.pop("workload", sandbox.path + "/web")
    return agent.metric("portwatch_bind_collisions_total", workload=name, **labels)
