"""CRI over gRPC: what is asked, both versions, and what an engine that misbehaves comes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engine_questions import A, B, C, failure_of
from engine_servers import (
    CriEngine,
    Server,
    container_id,
    cri_container,
    cri_sandbox,
    cri_status,
    entries,
    my_socket,
    replying,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portwatch.errors import EngineFailed
from portwatch.node.engines import stream
from portwatch.node.engines.cri_api import CriApi
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.engines.protobuf import field

DIGEST = "sha256:" + "cd" * 32
IMAGE = "registry.test/shop:1"


def engine_with(version: str = "v1", **images: str) -> CriEngine:
    """An engine with containers a1, b2, … of these images, all called `web`."""
    engine = CriEngine(version)
    for number, (start, image) in enumerate(images.items()):
        whole = container_id(start)
        engine.containers[whole] = cri_container(start, "web", image)
        engine.statuses[whole] = cri_status(start, "web", image, 1000 + number)
    return engine


def answering(path: Path, message: bytes) -> Server:
    """An engine that answers every call with this message."""
    engine = CriEngine()
    engine.answer = lambda method, request: (0, message)  # type: ignore[method-assign]
    return engine.serve(path)


def api_at(path: Path) -> CriApi:
    """The engine that listens there, as it is asked."""
    return CriApi(my_socket(path, "containerd"))


@pytest.mark.parametrize("version", ["v1", "v1alpha2"])
def test_a_container_is_described(path: Path, version: str) -> None:
    """Name, image, id of the image and labels, over either version of CRI."""
    engine = engine_with(version, a1=IMAGE, b2=IMAGE)
    with engine.serve(path) as server:
        api = CriApi(my_socket(path, "crio"))
        labels = (("app", "shop"), ("io.kubernetes.container.name", "web"))
        described = ContainerFacts(A, "crio", "web", IMAGE, DIGEST, labels)
        assert api.find([A]) == [described]
        assert api.find([A]) == [described]
        assert server.connections == 1
        api.close()
    asked = [f"/{engine.service}/ListContainers"] * 2
    assert engine.asked[-2:] == asked
    assert len(engine.asked) == (2 if version == "v1" else 3)  # which one it has is remembered


def test_several_are_found_at_once(path: Path) -> None:
    """One call finds many, and only those that were asked for by their whole ids."""
    engine = engine_with(a1=IMAGE, b2=IMAGE, c3=IMAGE)
    with engine.serve(path):
        api = CriApi(my_socket(path, "crio"))
        assert {one.id for one in api.find([A, C, "b2", ""])} == {A, C}
        assert len(engine.asked) == 1
        assert {one.id for one in api.find([A, C, container_id("d4")])} == {A, C}
        assert api.find(["a1"]) == api.find([container_id("d4")]) == []
        api.close()


def test_a_pods_sandbox(path: Path) -> None:
    """The container that keeps a pod's namespaces is known too, with the pod's labels."""
    engine = engine_with(a1=IMAGE)
    labels = {"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0"}
    engine.sandboxes = {
        container_id("e5"): cri_sandbox("e5", labels),
        container_id("f6"): cri_sandbox("f6", {}),
    }
    with engine.serve(path):
        api = CriApi(my_socket(path, "containerd"))
        found = {one.id: one for one in api.find([A, container_id("e5")])}
        assert found.keys() == {A, container_id("e5")}
        sandbox = found[container_id("e5")]
        assert (sandbox.name, sandbox.image, sandbox.runtime) == ("POD", None, "containerd")
        assert dict(sandbox.labels) == labels
        assert engine.asked == [
            f"/{engine.service}/{m}" for m in ("ListContainers", "ListPodSandbox")
        ]
        api.close()


def test_an_engine_that_answers_with_another(path: Path) -> None:
    """A container that was not asked for is not taken for the one that was."""
    status = cri_status("b2", "x", IMAGE, 7)
    with answering(path, field(1, cri_container("b2", "x", IMAGE))):
        api = CriApi(my_socket(path, "crio"))
        assert api.find([A]) == []
        api.close()
    with answering(path, status):
        api = CriApi(my_socket(path, "crio"))
        assert api.first_process(A) is None
        api.close()


def test_an_image_that_is_listed_by_its_id(path: Path) -> None:
    """It is named as the pod asked for it; failing that, as its status says; failing that, not."""
    engine = engine_with(a1=DIGEST, b2=IMAGE, c3=DIGEST)
    engine.containers[A] = cri_container("a1", "web", DIGEST, asked_for="shop:1")
    engine.containers[B] = cri_container("b2", "web", DIGEST)
    del engine.statuses[C]  # gone by then
    with engine.serve(path):
        api = CriApi(my_socket(path, "containerd"))
        found = {one.id: one for one in api.find([A, B, C])}
        assert {key: one.image for key, one in found.items()} == {A: "shop:1", B: IMAGE, C: None}
        assert {one.name for one in found.values()} == {"web"}
        api.close()


def test_first_process(path: Path) -> None:
    """The pid that the verbose status holds as JSON; None without, or without a container."""
    engine = engine_with(a1=IMAGE, b2=IMAGE)
    engine.statuses[B] = cri_status("b2", "web", IMAGE, 0)
    with engine.serve(path):
        api = CriApi(my_socket(path, "containerd"))
        assert [api.first_process(one) for one in (A, B, C)] == [1000, None, None]
        api.close()


@pytest.mark.parametrize("info", ["", "{", "[" * 100_000, "[]", '{"pid": "1"}', '{"pid": true}'])
def test_a_pid_that_cannot_be_read(path: Path, info: str) -> None:
    """Information of another form is no pid, or the engine's failure."""
    status = cri_status("a1", "web", IMAGE, 1) + entries(2, {"info": info})
    with answering(path, status):
        api = CriApi(my_socket(path, "containerd"))
        try:
            assert api.first_process(A) is None
        except EngineFailed as err:
            assert err.message == "it gives information that is no JSON"
        api.close()


def test_an_engine_that_was_restarted_is_asked_again(path: Path) -> None:
    """A connection that was kept may be of an engine that has ended, or that says good-bye."""
    api = CriApi(my_socket(path, "containerd"))
    for _ in range(2):
        with engine_with(a1=IMAGE).serve(path):
            assert [one.id for one in api.find([A])] == [A]
    engine = engine_with(a1=IMAGE)
    engine.goodbye = True
    with engine.serve(path) as server:
        for count in range(1, 5):
            assert [one.id for one in api.find([A])] == [A]
            assert server.connections == count
    api.close()


def test_an_engine_without_cri(path: Path) -> None:
    """Docker's own containerd serves no CRI; that is said."""
    with engine_with("v9").serve(path):
        assert "does not serve the container runtime interface" in failure_of(
            CriApi(my_socket(path, "containerd"))
        )


def test_a_large_answer(path: Path) -> None:
    """Answers larger than HTTP/2's first windows arrive whole."""
    engine = CriEngine()
    for number in range(2000):
        start = f"{number:05}"
        engine.containers[container_id(start)] = cri_container(start, f"c{number}", IMAGE)
    ids = sorted(engine.containers)[:100]
    assert sum(map(len, engine.containers.values())) > 5 * 65_535
    with engine.serve(path):
        api = CriApi(my_socket(path, "containerd"))
        for _ in range(5):
            assert sorted(one.id for one in api.find(ids)) == ids
        api.close()


def test_a_huge_answer(path: Path) -> None:
    """More than 8 MiB are not read."""

    engine = CriEngine()
    engine.containers[A] = field(1, A) + field(9, b" " * (9 << 20))
    with engine.serve(path):
        assert failure_of(api_at(path)) == "it answers with more than 8 MiB"


def test_an_engine_that_never_answers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a read's time, as is one that only ever pings."""
    monkeypatch.setattr(stream, "READ_SECONDS", 0.2)
    monkeypatch.setattr(stream, "REPLY_SECONDS", 0.6)
    settings_frame = b"\0\0\0\4\0\0\0\0\0"
    ping = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
    with replying(path, settings_frame, hold=True):
        assert failure_of(api_at(path)) == "no answer in time"
    with replying(path, settings_frame, *[ping] * 1000, pause_seconds=0.02):
        assert failure_of(api_at(path)) == "no answer in time"


@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 20,
        field(1, 7),
        field(1, field(1, 7)),
        field(1, field(1, A) + field(3, 7)),
        field(1, field(1, A) + field(3, b"\x03")),
        field(1, field(1, A) + field(4, field(1, 7))),
        field(1, field(1, A) + field(8, field(1, "k") + field(2, 7))),
        field(1, field(1, A) + field(3, field(1, "x" * 5000))),
    ],
)
def test_a_message_of_other_types(path: Path, message: bytes) -> None:
    """A message that is none, or has numbers in place of texts, is the engine's failure."""
    with answering(path, message):
        failure_of(api_at(path))


def test_bytes_that_are_no_text(path: Path) -> None:
    """A name of any bytes is printable, and JSON-safe."""
    message = field(1, A) + field(3, field(1, b"\xff\xfeweb"))
    with answering(path, field(1, message)):
        api = CriApi(my_socket(path, "containerd"))
        [facts] = api.find([A])
        assert facts.name == "\\xff\\xfeweb"
        assert json.loads(json.dumps(facts.name)) == facts.name
        api.close()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=400)
    | st.lists(
        st.builds(
            lambda kind, flags, number, body: (
                len(body).to_bytes(3, "big") + bytes([kind, flags]) + number + body
            ),
            st.integers(0, 10),
            st.integers(0, 255),
            st.sampled_from([bytes(4), b"\0\0\0\1", b"\0\0\0\2"]),
            st.binary(max_size=60),
        ),
        max_size=6,
    ).map(b"".join)
)
def test_any_bytes_are_a_failure(tmp_path: Path, data: bytes) -> None:
    """Whatever comes in place of HTTP/2, frames of any kind included, is the engine's failure."""
    path = tmp_path / "engine.sock"
    with replying(path, b"\0\0\0\4\0\0\0\0\0" + data):
        failure_of(api_at(path))
    with replying(path, data):
        failure_of(api_at(path))


def test_only_clusters_pay_for_http2(tmp_path: Path) -> None:
    """Neither Docker nor Podman needs h2: it is not imported for them, nor by the look-ups."""
    code = (
        "import sys; from portwatch.node.engines import engine, lookups, single_lookup;"
        "from portwatch.node.engines.sockets import EngineSocket; from pathlib import Path;"
        "engine.open_engine(EngineSocket('podman', Path('/x')));"
        "assert 'h2' not in sys.modules;"
        "engine.open_engine(EngineSocket('crio', Path('/x')));"
        "assert 'h2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
