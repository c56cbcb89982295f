"""The Docker-compatible API: what is asked, and what an engine that misbehaves comes to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from engine_questions import A, B, failure_of
from engine_servers import (
    ME,
    DockerEngine,
    Server,
    container_id,
    docker_container,
    http_reply,
    my_socket,
    replying,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portwatch.errors import EngineFailed
from portwatch.node.engines import stream
from portwatch.node.engines.docker_api import DockerApi
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.sockets import EngineSocket

KEYS = st.sampled_from(["Id", "Names", "Image", "ImageID", "Labels", "State", "Pid"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(A),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=6),
    max_leaves=20,
)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is slow is given up sooner."""
    monkeypatch.setattr(stream, "READ_SECONDS", 0.2)
    monkeypatch.setattr(stream, "REPLY_SECONDS", 0.6)


def api_at(path: Path) -> DockerApi:
    """The engine that listens there, as it is asked."""
    return DockerApi(my_socket(path))


def test_a_container_is_described(path: Path) -> None:
    """Name, image, id of the image and labels, in one form."""
    labels = {"app": "shop", "org.opencontainers.image.title": "x"}
    engine = DockerEngine(docker_container("a1", "shop-1", Labels=labels))
    with engine.serve(path):
        api = DockerApi(my_socket(path, "podman"))
        assert api.find([A]) == [
            ContainerFacts(
                id=A,
                runtime="podman",
                name="shop-1",
                image="localhost/binder:latest",
                image_id="sha256:" + "ab" * 32,
                labels=(("app", "shop"),),
            )
        ]
        api.close()


def test_links_are_no_names(path: Path) -> None:
    """Of several names the container's own one counts, wherever it stands."""
    engine = DockerEngine(docker_container("a1", "x", Names=["/other/alias", "/own"]))
    with engine.serve(path):
        api = DockerApi(my_socket(path))
        assert api.find([A])[0].name == "own"
        api.close()


def test_another_with_the_same_beginning_is_not_taken_for_it(path: Path) -> None:
    """Engines filter by prefix: what was not asked for by its whole id is not told."""
    short, long = "c3" * 32, "c3" * 32 + "ff"
    engine = DockerEngine(docker_container(long, "longer"), docker_container(short, "right"))
    engine.pids = {long: 7}
    with engine.serve(path):
        api = DockerApi(my_socket(path))
        assert [one.name for one in api.find([short])] == ["right"]
        engine.containers.pop()
        assert api.find([short]) == []
        assert api.first_process(short) is None
        api.close()


def test_only_whole_ids_are_asked_for(path: Path) -> None:
    """A text that is no id never reaches an engine, where it might be a pattern."""
    engine = DockerEngine(docker_container("a1", "x"))
    with engine.serve(path):
        api = DockerApi(my_socket(path))
        assert api.find(["a1", ".*", "[", A.upper(), A + "\n"]) == []
        assert engine.asked == []
        assert [one.id for one in api.find([".*", A])] == [A]
        assert engine.asked == [[A]]
        api.close()


def test_the_connection_is_kept(path: Path) -> None:
    """Many questions are asked over one connection."""
    engine = DockerEngine(docker_container("a1", "x"))
    with engine.serve(path) as server:
        api = DockerApi(my_socket(path))
        for _ in range(20):
            assert api.find([A])
        assert server.connections == 1
        api.close()


def test_an_engine_that_was_restarted_is_asked_again(path: Path) -> None:
    """A connection of an engine that has ended is no failure of the one that listens now."""
    api = DockerApi(my_socket(path))
    for name in ("before", "after"):
        with DockerEngine(docker_container("a1", name)).serve(path):
            assert [one.name for one in api.find([A])] == [name]
    assert failure_of(api_at(path)) == "there is no such socket"
    with pytest.raises(EngineFailed, match="no such socket"):
        api.find([A])


def test_first_process(path: Path) -> None:
    """The pid of a container that runs; none of one that does not, or is not there."""
    engine = DockerEngine(docker_container("a1", "x"), docker_container("b2", "y"))
    engine.pids = {A: 4242, B: 0}
    with engine.serve(path):
        api = DockerApi(my_socket(path))
        assert [api.first_process(one) for one in (A, B, container_id("c3"))] == [4242, None, None]
        api.close()


def test_an_engine_that_has_ended_but_left_its_socket(path: Path) -> None:
    """Where nothing listens any more, that is said."""
    with replying(path):
        path.with_name("kept").hardlink_to(path)
    assert failure_of(api_at(path.with_name("kept"))) == "nothing listens there"


def test_an_engine_that_never_answers(path: Path, hurried: None) -> None:
    """It is given up after a read's time."""
    with replying(path, hold=True):
        assert failure_of(api_at(path)) == "no answer in time"


def test_an_engine_that_trickles(path: Path, hurried: None) -> None:
    """Bytes that keep coming do not help an answer that never ends, in its head or its body."""
    head = b"HTTP/1.1 200 OK\r\nX: "
    with replying(path, head, *[b"x"] * 1000, pause_seconds=0.02):
        assert failure_of(api_at(path)) == "no answer in time"
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n["
    with replying(path, body, *[b" "] * 1000, pause_seconds=0.02):
        assert failure_of(api_at(path)) == "no answer in time"
    with replying(path, *[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000, pause_seconds=0.02):
        assert failure_of(api_at(path)) == "no answer in time"


@pytest.mark.parametrize("length", [9 << 20, 1 << 62, 10**30])
def test_a_huge_answer(path: Path, length: int) -> None:
    """More than 8 MiB are not read, and what is announced is not allocated."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
    with replying(path, head, b" " * (9 << 20)):
        assert failure_of(api_at(path)) == "it answers with more than 8 MiB"
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % length
    with replying(path, chunk, b" " * (9 << 20)):
        assert failure_of(api_at(path)) == "it answers with more than 8 MiB"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n[]",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01" + bytes(range(256)),
        http_reply(b"{"),
        http_reply(b"[" * 100_000),
        http_reply(b"[" + b"9" * 10_000 + b"]"),
        http_reply(b"\xff\xfe["),
    ],
)
def test_an_answer_that_cannot_be_read(path: Path, reply: bytes) -> None:
    """Half an answer, another protocol, and what is no JSON are the engine's failure."""
    with replying(path, reply):
        failure_of(api_at(path))
    with replying(path, reply):
        failure_of(api_at(path), find=False)


@pytest.mark.parametrize(
    "listed",
    [
        {},
        "text",
        7,
        None,
        ["text"],
        [None],
        [docker_container("a1", "x", Id=7)],
        [docker_container("a1", "x", Names="/x")],
        [docker_container("a1", "x", Names=[7])],
        [docker_container("a1", "x", Image={"name": "x"})],
        [docker_container("a1", "x", ImageID=["x"])],
        [docker_container("a1", "x", Labels=["x"])],
        [docker_container("a1", "x", Labels={"x": {}})],
        [docker_container("a1", "x" * 5000)],
    ],
)
def test_an_answer_of_other_types(path: Path, listed: object) -> None:
    """JSON that is no list of containers is the engine's failure."""
    with replying(path, http_reply(listed)):
        failure_of(api_at(path))


@pytest.mark.parametrize(
    "inspected",
    [{"Id": A, "State": {"Pid": "1"}}, {"Id": A}, {"Id": A, "State": {"Pid": True}}],
)
def test_a_pid_of_another_type(path: Path, inspected: object) -> None:
    """A pid is a number."""
    with replying(path, http_reply(inspected)):
        assert failure_of(api_at(path), find=False) == "it gives a pid that is no number"


def test_what_an_engine_may_leave_out(path: Path) -> None:
    """Labels, names and images that are null or absent are no failure."""
    sparse = {"Id": A, "Names": None, "Labels": None, "Image": None}
    with replying(path, http_reply([sparse])):
        api = DockerApi(my_socket(path))
        assert api.find([A]) == [ContainerFacts(A, "docker", "", None, None, ())]
        api.close()


def test_an_error_of_the_engines(path: Path) -> None:
    """Any other status than 200 is its failure, with the status."""
    with replying(path, b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"):
        assert failure_of(api_at(path)) == "it answers with HTTP status 500"


def test_a_socket_of_another_owner_is_not_asked(path: Path) -> None:
    """Whoever else owns it could say anything of that owner's containers; they are not asked."""
    engine = DockerEngine(docker_container("a1", "x"))
    with engine.serve(path) as server:
        with pytest.raises(EngineFailed, match=f"belongs to uid {ME}, not to uid {ME + 1}"):
            DockerApi(EngineSocket("docker", path, ME + 1)).find([A])
        assert server.connections == 0


@pytest.mark.skipif(ME != 0, reason="only root can give a socket away")
def test_a_socket_that_another_listens_on_is_not_asked(path: Path) -> None:
    """The owner of the file is not enough: who listens counts, so that none can be put there."""
    engine = DockerEngine(docker_container("a1", "x"))
    with engine.serve(path):
        os.chown(path, 1234, 1234)
        with pytest.raises(EngineFailed, match="uid 0 listens there, not uid 1234"):
            DockerApi(EngineSocket("docker", path, 1234)).find([A])
        assert engine.asked == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(DOCUMENTS)
def test_any_json_is_facts_or_a_failure(tmp_path: Path, document: object) -> None:
    """Whatever JSON an engine sends, nothing but EngineFailed comes of it."""
    path = tmp_path / "engine.sock"
    raw = http_reply(json.dumps([document, document]).encode())
    for find in (True, False):
        with replying(path, raw):
            api = DockerApi(my_socket(path))
            try:
                found = api.find([A]) if find else api.first_process(A)
                assert not find or all(one.id == A for one in found)
            except EngineFailed:
                pass
            finally:
                api.close()


def test_the_servers_leave_nothing(path: Path) -> None:
    """A test's engine takes its socket along."""
    with replying(path) as server:
        assert isinstance(server, Server)
    assert not path.exists()
