"""Pods on the node's network, held to the ports that they declare: from the API server's words to
the verdict on a real bind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binder import Binder
from kube_node import KubeNode, kube_node
from pod_shapes import pod, pod_slice, uid_of
from product import AgentProcess, eventually, portwatch
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
    rows = json.loads(node.sandbox.run("top", "--json").stdout)["rows"]
    named = [row for row in rows if row["workload"] == "pod:shop/api-0"]
    of_pod = [row for row in named if pod_slice(uid_of(given)) in row.get("cgroup", "")]
    assert {(row["kind"], row["port"], row["protocol"]) for row in of_pod} == {
        ("violation", OTHER, "tcp"),
        ("violation", SIDE, "tcp"),
        ("violation", DECLARED, "udp"),
        ("bind", DECLARED, "tcp"),
    }


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


def test_recorded_binds_are_replayed_as_the_pod_declared_them(
    node: KubeNode, tmp_path: Path
) -> None:
    """From a log of every bind, `replay` tells who would lose what under `declared`."""
    given = on_the_host(DECLARED, app="other")
    node.api.put(given)
    log = tmp_path / "events.jsonl"
    agent = node.agent("version: 1\nconstraints: []\n", "--keep", "--log-binds", "--events", log)
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") >= 1)
    binder = starts(node, given)
    for port in (DECLARED, OTHER):
        assert binder.bind(port) == "ok"
    eventually(lambda: log.exists() and f'"port":{OTHER}' in log.read_text().replace(" ", ""))
    assert agent.end() == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    binds = [one["bind"] for one in events if one["kind"] == "bind"]
    assert {(one["port"], one["declared"]) for one in binds} == {(DECLARED, True), (OTHER, False)}
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("web", "other"))
    done = portwatch("replay", "--json", policy, log)
    kinds = json.loads(done.stdout)["kinds"]
    said = {one["bind"]["port"]: one["now"]["verdict"] for one in kinds}
    assert said == {str(DECLARED): "allowed", str(OTHER): "recorded"}


def successful(agent: AgentProcess) -> bool:
    """What the agent says of its policy."""
    return agent.metric("portwatch_policy_last_load_successful") == 1


def test_more_ports_than_the_tables_have_room_for(node: KubeNode) -> None:
    """Pods that declare too many are told as a refused policy; those before keep what they have,
    and the last has nothing. With the first pod that comes after they are gone all is well."""
    first = on_the_host(DECLARED)
    node.api.put(first)
    agent = node.agent(POLICY, "--keep")
    binder = starts(node, first)
    until(binder, "EACCES", OTHER)
    many = [on_the_host(*range(p, p + 250), name=f"many-{p}") for p in range(30000, 35000, 250)]
    for given in many:
        node.api.put(given)
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") > len(many))
    last = starts(node, many[-1])
    eventually(lambda: not successful(agent))
    refused = [one for one in agent.events if one.get("result") == "refused"]
    assert "endpoint classes" in refused[0]["errors"][0]
    assert [binder.bind(DECLARED), binder.bind(OTHER)] == ["ok", "EACCES"]
    until(last, "EACCES", 34999)
    for given in many[:-1]:
        node.api.delete(given)
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") == 2)
    later = on_the_host(SIDE, name="later")
    node.api.put(later)
    until(starts(node, later), "EACCES", OTHER)
    eventually(lambda: successful(agent))
    until(last, "ok", 34999)


def test_a_bad_policy_stays_refused_whatever_pods_declare(node: KubeNode) -> None:
    """A port that nobody declared before makes new tables of the old policy, which are no sign
    that the new version is good."""
    agent = node.agent(POLICY, "--keep")
    node.sandbox.policy("version: [")
    eventually(lambda: not successful(agent))
    given = on_the_host(DECLARED)
    node.api.put(given)
    binder = starts(node, given)
    until(binder, "EACCES", OTHER)
    assert binder.bind(DECLARED) == "ok"
    assert not successful(agent)
    node.sandbox.policy(POLICY)
    eventually(lambda: successful(agent))


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
