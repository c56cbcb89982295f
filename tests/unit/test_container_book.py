"""What is known of containers is told of the right ones: by owner, by cgroup, by proof."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portwatch.agent.events.workload import network_parts, shown_name, workload_parts
from portwatch.agent.identity.containers import MAX_CONTAINERS, ContainerBook
from portwatch.node.engines.facts import ContainerFacts
from portwatch.policy.workload import KnownContainer

A, B = "a1" * 32, "b2" * 32
OWN = f"/system.slice/docker-{A}.scope"
CLAIMED = f"/system.slice/ci.service/docker-{A}.scope"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"
USERS = f"{MANAGER}/app.slice/docker-{A}.scope"
UID = "0b1c2d3e-1111-2222-3333-444455556666"
POD = f"/kubepods/burstable/pod{UID}"
DB = ContainerFacts(A, "docker", "db", "postgres:16", "sha256:" + "cd" * 32, (("tier", "data"),))


def test_facts_are_of_the_owners_container() -> None:
    """What a user's engine says of an id is told of that user's containers only, and what the
    machine's says never of a user's."""
    book = ContainerBook()
    book.learn(USERS, replace(DB, name="fake"))
    assert book.facts(OWN) is None
    assert shown_name(OWN, book) == f"docker:{A[:12]}"
    book.learn(OWN, DB)
    assert book.facts(OWN) == book.facts(CLAIMED) == DB
    assert book.facts(f"{OWN}/nested/x") == DB
    users = book.facts(USERS)
    assert users is not None and users.name == "fake"


def test_facts_of_another_id_are_refused() -> None:
    """An engine that answers with another container than was asked for teaches nothing."""
    book = ContainerBook()
    assert not book.learn(OWN, replace(DB, id=B))
    assert not book.learn("/system.slice/docker.service", DB)
    assert book.facts(OWN) is None


def test_a_claim_is_settled_by_a_proof_of_that_very_cgroup() -> None:
    """Verified in one cgroup, a container is not verified in another of its name; a user's engine
    proves nothing."""
    book = ContainerBook()
    book.learn(CLAIMED, DB, is_verified=True)
    book.learn(USERS, DB, is_verified=True)
    other = CLAIMED.replace("ci.service", "evil.service")
    assert book.is_verified(CLAIMED) and book.is_verified(f"{CLAIMED}/sub")
    assert not book.is_verified(other) and not book.is_verified(f"{CLAIMED}x")
    assert not book.is_verified(USERS)
    assert book.known(CLAIMED) == KnownContainer("db", (str(DB.image), str(DB.image_id)), True)
    assert book.is_settled(CLAIMED)
    assert not book.is_settled(other)
    assert not book.is_settled(USERS)
    assert workload_parts(other, book)["container"]["claimed"] is True
    assert "claimed" not in workload_parts(CLAIMED, book)["container"]


def test_what_a_monitor_says_is_not_the_last_word() -> None:
    """It names a container until its engine has spoken, and never after."""
    book = ContainerBook()
    assert book.learn(OWN, replace(DB, labels=()), is_whole=False)
    assert shown_name(OWN, book) == "docker:db"
    assert not book.is_settled(OWN)
    assert book.learn(OWN, DB)
    assert book.is_settled(OWN)
    assert not book.learn(OWN, replace(DB, name="old"), is_whole=False)
    assert not book.learn(OWN, DB), "no news"
    assert book.facts(OWN) == DB


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    """Containers that came and went do not fill the agent."""
    book = ContainerBook()
    book.learn(OWN, DB)
    for number in range(MAX_CONTAINERS):
        one = f"{number:064x}"
        book.learn(f"/docker/{one}", replace(DB, id=one))
    assert book.facts(OWN) is None
    assert book.facts(f"/docker/{0:064x}") is not None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (OWN, "docker:db"),
        (f"{OWN}/below", "docker:db"),
        (CLAIMED, "ci.service/docker:db"),
        (USERS, f"user@1000.service/docker:{A[:12]}"),
        (f"/machine.slice/libpod-{B}.scope", f"podman:{B[:12]}"),
        (f"/x/{B}", f"container:{B[:12]}"),
        (f"{POD}/{B}", f"pod:{UID}"),
        (POD, f"pod:{UID}"),
        (f"{MANAGER}/app.slice/db.service", "user@1000.service/db.service"),
        (MANAGER, "user@1000.service"),
        ("/system.slice/db.service/worker", "db.service"),
        ("/ci/job", "/ci/job"),
        ("/ci/\udcff", "/ci/?"),
    ],
)
def test_names_tell_workloads_apart(path: str, name: str) -> None:
    """What a user, or a unit, calls a thing is never shown as the system's of that name."""
    book = ContainerBook()
    book.learn(OWN, DB)
    assert shown_name(path, book) == name


def test_two_engines_with_one_container_name() -> None:
    """They are two workloads."""
    book = ContainerBook()
    podman = f"/machine.slice/libpod-{B}.scope"
    book.learn(OWN, DB)
    book.learn(podman, ContainerFacts(B, "podman", "db", None, None, ()))
    assert (shown_name(OWN, book), shown_name(podman, book)) == ("docker:db", "podman:db")
    assert workload_parts(podman, book) == {
        "cgroup": podman,
        "unit": f"libpod-{B}.scope",
        "container": {"id": B, "name": "db", "runtime": "podman"},
    }


def test_a_pod_by_its_labels() -> None:
    """A pod has the names that the kubelet gave its containers as labels."""
    book = ContainerBook()
    path = f"{POD}/{A}"
    labels = (("io.kubernetes.pod.name", "web-0"), ("io.kubernetes.pod.namespace", "shop"))
    book.learn(path, replace(DB, runtime="containerd", labels=labels))
    parts = workload_parts(path, book)
    assert parts["pod"] == {"namespace": "shop", "name": "web-0", "uid": UID}
    assert parts["container"]["runtime"] == "containerd"


def test_whose_a_network_is() -> None:
    """Who was in it first; when that container is gone its number may be another's."""
    book = ContainerBook()
    other = f"/docker/{B}"
    book.learn(OWN, DB)
    assert book.learn_network(other, 7, 200)
    assert book.learn_network(OWN, 7, 100)
    assert not book.learn_network(other, 7, 200)
    assert network_parts(7, False, book)["network_owner"]["container"]["name"] == "db"
    assert network_parts(7, True, book) == {"network": "host"}
    assert network_parts(8, False, book) == {"network": "net:[8]"}
    book.forget_network(other)
    assert book.network_owner(7) == OWN
    book.forget_network(OWN)
    assert book.network_owner(7) is None
    book.learn_network(f"{POD}/{B}", 9, 1)
    assert network_parts(9, False, book)["network_owner"] == {"pod": {"uid": UID}}


def test_a_book_goes_to_another_process() -> None:
    """As JSON, for the containers that are asked for, with what is proved of them."""
    book = ContainerBook()
    book.learn(CLAIMED, DB, is_verified=True)
    book.learn(f"/docker/{B}", replace(DB, id=B), is_whole=False)
    book.learn_network(CLAIMED, 7, 1)
    loaded = ContainerBook.load(json.loads(json.dumps(book.dump([CLAIMED, f"/docker/{B}"]))))
    assert loaded.known(CLAIMED) == book.known(CLAIMED)
    assert loaded.is_settled(CLAIMED) and not loaded.is_settled(f"/docker/{B}")
    assert loaded.network_owner(7) == CLAIMED
    assert ContainerBook.load(book.dump(["/docker/" + B])).facts(CLAIMED) is None
