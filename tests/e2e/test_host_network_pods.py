"""Pods on the node's network, held to the ports that they declare: from the API server's words to
the verdict on a real bind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from binder import Binder
from kube_node import KubeNode, kube_node
from pod_shapes import pod, uid_of
from product import AgentProcess, eventually
from sandbox import Sandbox

DECLARED, SIDE, OTHER = 28080, 28081, 28090
POLICY = """version: 1
mode: enforce
constraints:
  - name: as-declared
    for: {pod: {labels: {app: api}}}
    network: host
    allow: [declared]
  - name: tried-out
    for: {pod: {labels: {app: web}}}
    network: host
    mode: record
    allow: [declared, ephemeral]
"""


@pytest.fixture
def node(shared: Sandbox) -> Iterator[KubeNode]:
    """A node whose programs are loaded."""
    with kube_node(shared) as node:
        yield node


def on_the_host(*ports: int, app: str = "api", **more: Any) -> dict[str, Any]:
    """A pod on the node's network that declares these TCP ports."""
    declared = [{"containerPort": port, "hostPort": port, "protocol": "TCP"} for port in ports]
    return pod(labels={"app": app}, host_network=True, ports=declared, **more)


def starts(node: KubeNode, given: dict[str, Any]) -> Binder:
    """A process in the pod, on the host's network."""
    return node.sandbox.binder(node.cgroup(uid_of(given)), own_network=False)


def until(binder: Binder, said: str, port: int, **more: Any) -> None:
    """Wait until that is what a bind gets."""
    eventually(lambda: binder.bind(port, **more) == said, what=f"{said} for {port}")


def counted(agent: AgentProcess, **labels: str) -> float:
    """The metric of binds outside of what is declared."""
    return agent.metric("portwatch_host_network_undeclared_binds_total", **labels)


def test_a_pod_has_what_it_declares_and_no_more(node: KubeNode) -> None:
    """Selected by its label, it may bind its containerPorts by their protocol; another port is
    refused, and the violation, the metric and `explain` name the pod."""
    given = on_the_host(DECLARED, name="api-0")
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    binder = starts(node, given)
    until(binder, "EACCES", OTHER)
    assert binder.bind(DECLARED) == "ok"
    assert binder.bind(DECLARED, protocol="udp") == "EACCES"
    event = eventually(lambda: agent.violations(OTHER))[0]
    assert event["constraint"] == "as-declared"
    assert event["workload"]["name"] == "pod:shop/api-0"
    assert event["workload"]["pod"]["namespace"] == "shop"
    refused = 5
    for _ in range(refused):
        assert binder.bind(SIDE) == "EACCES"
    labels = {"constraint": "as-declared", "namespace": "shop", "verdict": "denied"}
    assert counted(agent, **labels) >= refused + 2
    assert agent.end() == 0  # and leaves what it knew for commands that end at once
    done = node.sandbox.run("explain", "--pid", binder.pid, "--port", str(OTHER))
    assert f"`declared` is {DECLARED}/tcp here" in done.stdout
    done = node.sandbox.run("explain", "--pid", binder.pid, "--port", str(DECLARED))
    assert "is in its allow list (declared)" in done.stdout
    assert done.returncode == 0


def test_ports_that_nobody_declared_before(node: KubeNode) -> None:
    """A pod that comes later, with ports that the tables do not know, has them with its first bind
    where it was told of before it runs; and each pod only its own."""
    first = on_the_host(DECLARED)
    node.api.put(first)
    agent = node.agent(POLICY, "--keep")
    until(starts(node, first), "EACCES", OTHER)
    later = [on_the_host(port, name=f"later-{port}") for port in (SIDE, OTHER)]
    for given in later:
        node.api.put(given)
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") >= 3)
    binders = [starts(node, given) for given in later]
    until(binders[0], "EACCES", OTHER)
    assert binders[0].bind(SIDE) == "ok"
    until(binders[1], "EACCES", SIDE)
    assert binders[1].bind(OTHER) == "ok"
    assert binders[1].bind(DECLARED) == "EACCES"


def test_what_only_records_is_counted_all_the_same(node: KubeNode) -> None:
    """In record mode every bind goes through, and exactly those outside of what is declared are in
    the metric, by namespace; ports that the kernel picks are not."""
    given = on_the_host(DECLARED, app="web", name="web-0", namespace="front")
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    binder = starts(node, given)
    eventually(lambda: binder.bind(OTHER) == "ok" and counted(agent, namespace="front") > 0)
    before = counted(agent, namespace="front")
    for _ in range(7):
        assert binder.bind(OTHER) == "ok"
        assert binder.bind(DECLARED) == "ok"
        assert binder.bind(0) == "ok"
    labels = {"constraint": "tried-out", "namespace": "front", "verdict": "recorded"}
    assert counted(agent, **labels) == before + 7
    assert counted(agent, constraint="tried-out") == before + 7


def test_a_pod_in_a_network_of_its_own_is_left_alone(node: KubeNode) -> None:
    """The constraint is about the node's network."""
    given = pod(labels={"app": "api"})
    node.api.put(given)
    node.agent(POLICY, "--keep")
    host = on_the_host(DECLARED)
    node.api.put(host)
    until(starts(node, host), "EACCES", OTHER)
    assert node.binder(given).bind(OTHER) == "ok"


def test_without_an_api_server_nothing_is_declared(node: KubeNode) -> None:
    """Where no pod is known the word means nothing, and `run` says that nobody tells of pods."""
    policy = node.sandbox.policy(
        "version: 1\nmode: enforce\nconstraints:\n"
        f'  - {{name: c, for: {{cgroup: "{node.sandbox.path}/**"}}, allow: [declared, {SIDE}]}}\n'
    )
    agent = node.sandbox.agent(policy, "--keep")
    assert "no API server is known here" in agent.log
    binder = starts(node, on_the_host(DECLARED))
    until(binder, "EACCES", DECLARED)
    assert binder.bind(SIDE) == "ok"
