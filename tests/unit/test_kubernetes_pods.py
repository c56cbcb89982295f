"""Pod objects, what is kept of them, and where the API server is."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from committed_queries import alerts, panel_queries
from pod_shapes import MANIFEST_HASH, labelled, mirror_pod, pod, uid_of

from portwatch.agent.events.workload import shown_name, workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.kubernetes.kube_config import load_kube_config
from portwatch.agent.kubernetes.pod_book import PodBook
from portwatch.agent.kubernetes.pod_file import PodFile, read_pods
from portwatch.agent.kubernetes.pod_objects import known_pod
from portwatch.agent.kubernetes.pod_watch import PodWatch
from portwatch.agent.metrics.exposition import TEXT_FORMAT, write_page
from portwatch.agent.metrics.families import CollectorRegistry
from portwatch.agent.metrics.kubernetes import KubernetesCollector
from portwatch.cli.kubernetes_options import parse_pod_source
from portwatch.errors import UsageError
from portwatch.node.kubernetes.follower import RESTARTS, PodFollower
from portwatch.node.kubernetes.server import ApiServer, in_cluster, parse_url
from portwatch.node.kubernetes.shapes import read_pod
from portwatch.policy.pod import DeclaredPort, KnownPod


def known(given: dict[str, Any]) -> KnownPod:
    """What is known of a pod by its object."""
    return known_pod(read_pod(json.dumps(given).encode()))


def test_what_is_read_of_a_pod() -> None:
    """Names, labels, service account, network and declared ports; a hostPort is kept beside."""
    ports = [
        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
        {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"},
    ]
    given = pod("api-0", labels={"b": "2", "a": ""}, service_account="api", ports=ports)
    assert known(given) == KnownPod(
        uid_of(given),
        "shop",
        "api-0",
        (("a", ""), ("b", "2")),
        "api",
        False,
        (DeclaredPort("tcp", 8080), DeclaredPort("udp", 53, 5353)),
    )


def test_ports_on_the_hosts_network() -> None:
    """In the host's network a containerPort is the host's, whether or not hostPort repeats it."""
    assert known(pod(host_network=True)).declared_ports == (DeclaredPort("tcp", 8080, 8080),)


def test_a_static_pod_has_its_manifests_hash() -> None:
    """A mirror pod stands for the cgroup that the kubelet names by the manifest's hash."""
    assert known(mirror_pod()).uid == MANIFEST_HASH


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["metadata"].pop("ownerReferences"),
        lambda one: one["metadata"]["annotations"].pop("kubernetes.io/config.mirror"),
        lambda one: one["metadata"]["annotations"].update(
            {"kubernetes.io/config.hash": "0b1c2d3e-1111-2222-3333-444455556666"}
        ),
    ],
)
def test_who_is_no_mirror_has_its_own_uid(change: Any) -> None:
    """Annotations alone make nobody another pod: not without the node as owner, and never an
    ordinary pod."""
    given = mirror_pod()
    change(given)
    assert known(given).uid == uid_of(given)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["metadata"].update(uid="../../x"),
        lambda one: one["metadata"].update(name=""),
        lambda one: one["metadata"].update(namespace="A/B"),
        lambda one: one["metadata"].update(labels={"a,b": "c"}),
        lambda one: one["metadata"].update(labels={"a": "b,c=d"}),
        lambda one: one["metadata"].update(labels={f"a{n}": "b" for n in range(300)}),
        lambda one: one["spec"].update(serviceAccountName="x y"),
        lambda one: one["spec"]["containers"][0].update(
            ports=[{"containerPort": n} for n in range(1, 2000)]
        ),
    ],
)
def test_what_no_pod_can_be_is_refused(change: Any) -> None:
    """What Kubernetes would not take is not read in part."""
    given = pod()
    change(given)
    with pytest.raises(ValueError):
        known(given)


def test_a_book_has_a_bound() -> None:
    """However many labels a server makes up, what is kept of them is bounded, and what is known
    stays."""
    book, first = PodBook(), known(pod())
    book.learn(first)
    labels = tuple((f"a{number:03}", "x" * 63) for number in range(128))
    many = [replace(first, uid=f"{number:032x}", labels=labels) for number in range(1200)]
    learned = [book.learn(one) for one in many]
    assert (learned[0], learned[-1]) == (True, False)
    assert book.of(first.uid) == first
    book.untold([one.uid for one in book])
    for uid in book.leftover():
        book.forget(uid)
    assert book.learn(many[-1])


def test_a_pod_that_runs_stays_known() -> None:
    """What the API server tells of no more is kept until its cgroup is gone."""
    book, given = PodBook(), known(pod())
    assert book.learn(given)
    assert not book.learn(given)
    assert not book.forget(given.uid)
    book.only_told([])
    assert book.of(given.uid) == given
    assert book.leftover() == [given.uid]
    assert book.forget(given.uid)
    assert book.of(given.uid) is None


def test_who_claims_anothers_manifest_comes_second() -> None:
    """Of two mirror pods with one hash the one that was told of first counts."""
    book, first, second = PodBook(), known(mirror_pod()), known(mirror_pod("evil"))
    book.learn(first)
    assert not book.learn(second)
    assert book.of(MANIFEST_HASH) == first


def test_a_book_as_json_and_back() -> None:
    """What one process knows of pods another can load."""
    book = PodBook()
    for one in (pod(), mirror_pod(), pod(host_network=True)):
        book.learn(known(one))
    again = PodBook.load(json.loads(json.dumps(book.dump())))
    assert list(again) == list(book)


def test_a_known_pod_has_a_name() -> None:
    """Events and counts call a known pod by namespace and name, one that is not by its uid."""
    book, given = ContainerBook(), known(pod("web-1", labels={"app": "web"}))
    path = f"/kubepods/burstable/pod{given.uid}/{'a1' * 32}"
    assert shown_name(path, book) == f"pod:{given.uid}"
    book.pods.learn(given)
    assert shown_name(path, book) == "pod:shop/web-1"
    assert workload_parts(path, book)["pod"] == {
        "namespace": "shop",
        "name": "web-1",
        "service_account": "default",
        "labels": {"app": "web"},
        "uid": given.uid,
    }


def test_a_changed_label_is_news() -> None:
    """A book tells whether what it is told is new."""
    book, given = PodBook(), pod()
    assert book.learn(known(given))
    assert book.learn(known(labelled(given, app="web")))


def test_its_metrics_are_there_from_the_start(tmp_path: Path) -> None:
    """Before anything was heard every figure is 0, with each reason that there can be."""
    follower = PodFollower(ApiServer(parse_url("https://127.0.0.1:1")), "node-1", known_pod)
    book = PodBook()
    watch = PodWatch(book, follower, PodFile(tmp_path / "pods.json", book))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(KubernetesCollector(watch))
    text = write_page(registry.collect(), TEXT_FORMAT).decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    watch.close()
    assert len(samples) == 6 + len(RESTARTS)
    assert {line.rpartition(" ")[2] for line in samples} == {"0.0"}
    asked = " ".join([*(rule["expr"] for rule in alerts().values())])
    asked += " ".join(query.text for query in panel_queries())
    assert set(re.findall(r"portwatch_kubernetes_\w+", asked)) <= {
        line.partition("{")[0].partition(" ")[0] for line in samples
    }


def test_pods_are_kept_for_the_next_agent(tmp_path: Path) -> None:
    """What is known is written whole, root's alone to read, and read again; nonsense is nothing."""
    book, path = PodBook(), tmp_path / "run" / "pods.json"
    book.learn(known(given := pod()))
    file = PodFile(path, book)
    file.changed()
    file.write(7.0)
    assert path.stat().st_mode & 0o777 == 0o600
    kept = read_pods(path)
    if os.geteuid() == 0:
        assert kept
        assert (list(kept.book), kept.contact_seconds) == ([known(given)], 7.0)
    path.write_text('{"pods": [{"uid": 1}], "contact": 0}')
    assert read_pods(path) is None
    assert read_pods(tmp_path / "absent") is None


def kube_config(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    """A kubeconfig with one of each."""
    path = folder / "config"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "preferences": {},
                "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


def test_a_kubeconfig_like_the_kubelets(tmp_path: Path) -> None:
    """CA as data, client certificate and key as files beside it."""
    path = kube_config(
        tmp_path,
        {"server": "https://10.0.0.1:6443", "certificate-authority-data": "UEVN"},
        {"client-certificate": "/var/lib/kubelet/pki/x.pem", "client-key": "x.key"},
    )
    server = load_kube_config(path)
    assert (server.host, server.port, server.ca_text) == ("10.0.0.1", 6443, "PEM")
    assert server.certificate_file == Path("/var/lib/kubelet/pki/x.pem")
    assert server.key_file == tmp_path / "x.key"


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({"server": "ftp://x"}, {}, "is no API server"),
        ({"server": "http://10.0.0.1"}, {}, "whoever is on the way"),
        ({"server": "https://x", "insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
        ({"server": "https://x"}, {"exec": {"command": "aws"}}, "known by a program"),
        ({"server": "https://x"}, {"client-certificate": "a"}, "needs two files"),
        ({"server": "https://x", "certificate-authority-data": "%"}, {}, "no base64"),
        ({}, {}, "missing required field `server`"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], said: str
) -> None:
    """What is wrong with it is one line that names it."""
    with pytest.raises(UsageError, match=said):
        load_kube_config(kube_config(tmp_path, cluster, user))


def test_a_pod_finds_its_cluster(tmp_path: Path) -> None:
    """In a pod the environment and the mounted account tell where to ask; else nobody is asked."""
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(environment, tmp_path) is None
    (tmp_path / "token").write_text("t")
    server = in_cluster(environment, tmp_path)
    assert server
    assert (server.host, server.port, server.bearer()) == ("fd00::1", 443, "t")
    assert in_cluster({}, tmp_path) is None
    assert parse_pod_source(None, None, {}) is None
    assert parse_pod_source("none", "x", environment) is None


def test_a_nodes_name(tmp_path: Path) -> None:
    """The option counts before the environment, and what is no name is refused."""
    path = str(kube_config(tmp_path, {"server": "https://x"}, {}))
    source = parse_pod_source(path, None, {"NODE_NAME": "node-7"})
    assert source
    assert source.node_name == "node-7"
    with pytest.raises(UsageError, match="is no node's name"):
        parse_pod_source(path, "a,b=c", {})
