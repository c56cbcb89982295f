"""Pods by name and label, from an API server, to the verdict on a real bind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binder import Bind, Binder
from kube_node import KubeNode, kube_node
from pod_shapes import MANIFEST_HASH, labelled, mirror_pod, pod, pod_slice, uid_of
from product import eventually
from sandbox import Sandbox

POLICY = """version: 1
mode: enforce
constraints:
  - name: api
    for: {pod: {namespace: shop, labels: {app: api}}}
    allow: [8080]
"""
DENYING = POLICY.replace("constraints:", "pods: {unknown: deny}\nconstraints:")
OTHER = {"app": "web"}


@pytest.fixture
def node(shared: Sandbox) -> Iterator[KubeNode]:
    """A node whose programs are loaded."""
    with kube_node(shared) as node:
        yield node


def until(binder: Binder, said: str, port: int = 9000) -> None:
    """Wait until that is what a bind gets."""
    eventually(lambda: binder.bind(port) == said, what=f"{said} for {port}")


def test_a_pod_is_constrained_by_its_labels(node: KubeNode) -> None:
    """A pod that the API server tells of may bind what the constraint on its labels allows, and
    its violation names it."""
    api, web = pod("api-0", service_account="shop-api"), pod(labels=OTHER)
    node.api.put(api)
    node.api.put(web)
    agent = node.agent(POLICY, "--keep")
    binder, other = node.binder(api), node.binder(web)
    until(binder, "EACCES")
    assert binder.bind(8080) == "ok"
    assert other.bind(9000) == "ok"
    event = eventually(lambda: agent.violations(9000))[0]
    assert event["workload"]["name"] == "pod:shop/api-0"
    assert event["workload"]["pod"] == {
        "namespace": "shop",
        "name": "api-0",
        "uid": uid_of(api),
        "service_account": "shop-api",
        "labels": {"app": "api", "pod-template-hash": "6c9f8d5b7b"},
    }


def test_a_changed_label_changes_the_verdict(node: KubeNode) -> None:
    """What was let through a thousand times is denied once the pod's label says so, and back."""
    given = pod(labels=OTHER)
    node.api.put(given)
    node.agent(POLICY, "--keep")
    binder = node.binder(given)
    for _ in range(100):
        assert binder.bind(9000) == "ok"
    node.api.put(labelled(given, app="api"))
    until(binder, "EACCES")
    node.api.put(labelled(given, app="web"))
    until(binder, "ok")


def test_an_unknown_pod_is_denied_from_its_first_instruction(node: KubeNode) -> None:
    """With `pods: {unknown: deny}` a pod's very first bind is refused, before anybody could have
    classified its cgroup; once it is known its own constraint counts."""
    given = pod()
    (node.sandbox.home / pod_slice(uid_of(given))).parent.mkdir(parents=True)
    agent = node.agent(DENYING, "--keep")
    binder = node.sandbox.binder()
    assert binder.bind(8080) == "ok"
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        binder.move(node.cgroup(uid_of(given)))
        assert binder.bind(8080) == "EACCES"
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    assert binder.bind(8080) == "EACCES"
    node.api.put(given)
    until(binder, "ok", 8080)
    assert binder.bind(9000) == "EACCES"
    told = eventually(lambda: agent.violations(9000))
    assert {event["constraint"] for event in told} <= {"unknown-pods", "api"}


def test_labels_that_change_under_a_bind_storm(node: KubeNode) -> None:
    """However often a pod's label changes while it binds, what it says last is what counts."""
    given = pod(labels=OTHER)
    node.api.put(given)
    node.agent(POLICY, "--keep")
    binder = node.binder(given)
    for labels, said in (({"app": "api"}, "EACCES"), (OTHER, "ok")):
        binder.start_storm([Bind(9000)])
        for number in range(50):
            node.api.put(labelled(given, app=f"a{number}"))
            node.api.put(labelled(given, **(labels if number % 2 else {"app": "api"})))
        node.api.put(labelled(given, **labels))
        assert sum(binder.end_storm().values()) > 0
        until(binder, said)


def test_fifty_pods_that_start_at_once(node: KubeNode) -> None:
    """Among 250 pods, each of fifty that come together is constrained by its own labels, and the
    agent does not outgrow its memory."""
    for _ in range(250):
        node.api.put(pod(labels=OTHER))
    agent = node.agent(POLICY, "--keep")
    assert agent.metric("portwatch_kubernetes_pods") == 250
    given = [pod(labels={"app": "api"} if number % 2 else OTHER) for number in range(50)]
    for one in given:
        node.api.put(one)
    cgroups = [node.cgroup(uid_of(one)) for one in given]
    binder = node.sandbox.binder()
    for number, cgroup in enumerate(cgroups):
        binder.move(cgroup)
        until(binder, "EACCES" if number % 2 else "ok")
    assert agent.metric("portwatch_kubernetes_pods") == 300
    assert agent.metric("process_resident_memory_bytes") < 48 << 20


def test_what_is_known_stays_while_the_server_is_down(node: KubeNode) -> None:
    """With the API server away the last known labels stay in force, its age is told, and a new
    agent starts with them."""
    given = pod()
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    binder = node.binder(given)
    until(binder, "EACCES")
    contact = agent.metric("portwatch_kubernetes_last_contact_timestamp_seconds")
    assert contact > 0
    assert agent.metric("portwatch_kubernetes_pods") == 1
    node.api.close()
    eventually(lambda: not agent.metric("portwatch_kubernetes_watch_connected"))
    assert binder.bind(9000) == "EACCES"
    eventually(
        lambda: agent.metric("portwatch_kubernetes_watch_restarts_total", reason="network") > 1,
        within=15,
    )
    assert agent.metric("portwatch_kubernetes_last_contact_timestamp_seconds") < contact + 60
    assert agent.end() == 0
    policy = node.sandbox.policy(POLICY)
    again = node.sandbox.agent(policy, *node.options, "--keep")
    assert again.metric("portwatch_kubernetes_pods") == 1
    until(binder, "EACCES")


def test_a_watch_goes_on_from_a_bookmark(node: KubeNode) -> None:
    """A watch that is cut goes on from the last bookmark, and nothing is listed again."""
    given = pod(labels=OTHER)
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    node.api.bookmark()
    node.api.put(pod(labels=OTHER))
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") == 2)
    node.api.drop_watches()
    node.api.put(labelled(given, app="api"))
    until(node.binder(given), "EACCES")
    assert len(node.api.lists) == 1
    last = [one for one in node.api.asked if one.is_watch][-1]
    assert int(last.parameters["resourceVersion"]) > 1100
    assert last.parameters["fieldSelector"] == "spec.nodeName=node-1"
    assert last.parameters["allowWatchBookmarks"] == "true"


def test_a_version_that_is_gone_is_listed_anew(node: KubeNode) -> None:
    """After 410 Gone everything is listed again; a pod that is not there any more is kept until
    its cgroup is gone."""
    given, ended = pod(labels=OTHER), pod()
    node.api.put(given)
    node.api.put(ended)
    agent = node.agent(POLICY, "--keep")
    binder = node.binder(ended)
    until(binder, "EACCES")
    node.api.trouble.gone_watches = 1
    node.api.delete(ended)
    node.api.put(labelled(given, app="api"))
    node.api.compact()
    node.api.drop_watches()
    until(node.binder(given), "EACCES")
    assert agent.metric("portwatch_kubernetes_watch_restarts_total", reason="gone") >= 1
    assert binder.bind(9000) == "EACCES"
    assert agent.metric("portwatch_kubernetes_pods") == 2
    node.sandbox.stack.callback(lambda: None)
    binder.close()
    folder = node.sandbox.home / pod_slice(uid_of(ended))
    for path in (*folder.iterdir(), folder):
        if path.is_dir():
            path.rmdir()
    eventually(lambda: agent.metric("portwatch_kubernetes_pods") == 1)


def test_a_token_that_is_replaced(node: KubeNode) -> None:
    """A refused token is read again from its file, as the kubelet replaces it."""
    given = pod(labels=OTHER)
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    node.api.token = "second-token"
    node.api.drop_watches()
    eventually(
        lambda: agent.metric("portwatch_kubernetes_watch_restarts_total", reason="unauthorized")
    )
    node.token_file.write_text("second-token\n")
    node.api.put(labelled(given, app="api"))
    until(node.binder(given), "EACCES")


def test_nonsense_and_giants_do_no_harm(node: KubeNode) -> None:
    """An object of 8 MiB is left out, one that is no pod too, and the watch goes on."""
    given = pod(labels=OTHER)
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    size = agent.metric("process_resident_memory_bytes")
    node.api.say(b'{"type":"ADDED","object":{"metadata":{"name":"' + b"x" * (8 << 20) + b'"}}}\n')
    node.api.say(b'{"type":"ADDED","object":{"metadata":{"name":"../x"},"spec":{}}}\n')
    node.api.put(labelled(given, app="api"))
    until(node.binder(given), "EACCES")
    assert agent.metric("portwatch_kubernetes_unreadable_objects_total") == 2
    assert agent.metric("process_resident_memory_bytes") < size + (12 << 20)


def test_a_slow_server_holds_up_nothing(node: KubeNode) -> None:
    """While a list trickles in, pods count as they come, and other policies stay enforced."""
    given = [pod("a-first"), *(pod(labels=OTHER) for _ in range(3))]
    for one in given:
        node.api.put(one)
    node.api.trouble.trickle_seconds = 0.2
    agent = node.sandbox.agent(node.sandbox.policy(POLICY), *node.options, "--keep")
    until(node.binder(given[0]), "EACCES")
    assert not agent.metric("portwatch_kubernetes_watch_connected")


def test_a_static_pod_by_its_mirror(node: KubeNode) -> None:
    """A static pod's cgroup has its manifest's hash, which the mirror pod tells."""
    node.api.put(mirror_pod())
    policy = POLICY.replace("namespace: shop, labels: {app: api}", 'name: "etcd-*"')
    node.agent(policy, "--keep")
    until(node.binder(MANIFEST_HASH), "EACCES")


def test_status_and_explain_know_the_pods(node: KubeNode) -> None:
    """Commands that end at once know what the agent knew last."""
    given: dict[str, Any] = pod("api-7")
    node.api.put(given)
    agent = node.agent(POLICY, "--keep")
    binder = node.binder(given)
    until(binder, "EACCES")
    assert agent.end() == 0
    facts = node.sandbox.status()
    assert facts["kubernetes"]["pods"] >= 1
    cgroup = f"{node.sandbox.path}/{pod_slice(uid_of(given))}"
    for asked in (("--cgroup", cgroup), ("--pod", "shop/api-7")):
        done = node.sandbox.run("explain", *asked, "--port", "9000")
        assert done.returncode == 1
        assert "denied by api" in done.stdout, done.stdout


def test_unloading_forgets_the_pods(sandbox: Sandbox) -> None:
    """Nothing that is known of pods is left behind where nothing is enforced any more."""
    with kube_node(sandbox) as node:
        node.api.put(pod())
        agent = node.agent(POLICY)
        eventually(lambda: agent.metric("portwatch_kubernetes_pods"))
        assert agent.end() == 0
    assert not list(sandbox.socket.parent.glob(sandbox.socket.stem.replace("events", "pods") + "*"))


def test_no_kubeconfig(sandbox: Sandbox) -> None:
    """A kubeconfig that cannot be used is a mistake, told in a line, before anything is loaded."""
    bad = sandbox.folder / "bad"
    bad.write_text("clusters: 5\n")
    for path in (Path("/nonexistent"), bad):
        done = sandbox.run("run", "--kube-config", path, "--cgroup", sandbox.cgroup)
        assert done.returncode == 2
        assert str(path) in done.stderr
        assert not sandbox.pin_dir.exists()
