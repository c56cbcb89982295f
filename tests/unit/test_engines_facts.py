"""What engines say of containers, in one form: bounded, JSON-safe, images by name or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portwatch.errors import EngineFailed, UsageError
from portwatch.node.engines.facts import (
    MAX_LABEL_TEXT,
    MAX_LABELS,
    engine_text,
    image_digest,
    image_name,
    workload_labels,
)
from portwatch.node.engines.protobuf import Malformed, field, fields
from portwatch.node.engines.sockets import (
    EngineSocket,
    parse_engine_socket,
    unfit,
    well_known_sockets,
)
from portwatch.node.paths import HostPaths

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker.io/library/nginx:1.25", "docker.io/library/nginx:1.25"),
        ("nginx@" + DIGEST, "nginx@" + DIGEST),
        ("cafebabe", "cafebabe"),
        (DIGEST, None),
        ("ab" * 32, None),
        ("abababababab", None),
        ("sha256:abab", None),
        ("<none>:<none>", None),
        ("", None),
    ],
)
def test_an_image_is_a_name_or_nothing(text: str, name: str | None) -> None:
    """An id, whole or its start, is no name; hexadecimal words that are no id are."""
    assert image_name(text, DIGEST) == name


def test_an_image_without_an_id_keeps_its_name() -> None:
    """Nothing is the start of no id."""
    assert image_name("nginx", None) == "nginx"


@pytest.mark.parametrize(
    ("text", "digest"),
    [(DIGEST, DIGEST), ("ab" * 32, DIGEST), ("x/y@" + DIGEST, DIGEST), ("nginx", None), ("", None)],
)
def test_an_image_id_has_one_form(text: str, digest: str | None) -> None:
    """Bare, with its algorithm or at the end of a reference, it is the same id."""
    assert image_digest(text) == digest


def test_labels_are_bounded() -> None:
    """Those of the image go, long values are cut, keys too long go, and a few in order are kept."""
    labels = {f"k{n:03}": "v" * 1000 for n in range(100)} | {
        "org.opencontainers.image.title": "x",
        "org.label-schema.name": "x",
        "a" * (MAX_LABEL_TEXT + 1): "x",
    }
    kept = workload_labels(labels)
    assert kept == tuple((f"k{n:03}", "v" * MAX_LABEL_TEXT) for n in range(MAX_LABELS))


@given(st.text(st.characters(), max_size=200) | st.binary(max_size=200))
def test_every_text_is_json_safe(value: str | bytes) -> None:
    """Lone surrogates and bytes that are no UTF-8 become printable, in JSON as well."""
    text = engine_text(value, "a name")
    assert json.loads(json.dumps(text).encode("utf-8")) == text
    assert text.encode("utf-8").decode() == text
    [(key, kept)] = workload_labels({"k": value})
    assert key == "k"
    kept.encode("utf-8")


@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": 1}, True, "x" * 1025])
def test_what_is_no_text_is_an_error(value: object) -> None:
    """Another type, or a text so long that it could only be cut into another name, is refused."""
    with pytest.raises(EngineFailed, match="it gives a name"):
        engine_text(value, "a name")


def test_a_label_of_another_type_is_an_error() -> None:
    """A label's value is a text."""
    with pytest.raises(EngineFailed):
        workload_labels({"k": 1})


# What the protobuf library of Google makes of {1: "id", 6: 300, 8: {"k": "v"}}.
REFERENCE = bytes.fromhex("0a02696430ac0242060a016b120176")


def test_protobuf_is_that_of_others() -> None:
    """Our bytes are the reference's, and the reference's bytes are read as what they mean."""
    pair = field(1, "k") + field(2, "v")
    assert field(1, "id") + field(6, 300) + field(8, pair) == REFERENCE
    assert list(fields(REFERENCE)) == [(1, b"id"), (6, 300), (8, pair)]


numbers = st.integers(1, 2**29 - 1)
values = st.integers(0, 2**64 - 1) | st.binary(max_size=300)


@given(st.lists(st.tuples(numbers, values), max_size=20))
def test_protobuf_comes_back(pairs: list[tuple[int, int | bytes]]) -> None:
    """Any fields are read as they were written."""
    assert list(fields(b"".join(field(*pair) for pair in pairs))) == pairs


@given(st.binary(max_size=300))
def test_protobuf_of_any_bytes(message: bytes) -> None:
    """Garbage is fields within its own length, or Malformed; nothing else, and it ends."""
    try:
        found = list(fields(message))
    except Malformed:
        return
    assert sum(len(value) if isinstance(value, bytes) else 1 for _, value in found) <= len(message)
    assert all(number > 0 for number, _ in found)


@pytest.mark.parametrize(
    "message",
    [b"\x0a\x05abc", b"\x0a", b"\x08\xff", b"\x08" + b"\xff" * 10, b"\x03", b"\x00\x01", b"\x0d12"],
    ids=["short", "no-length", "half-number", "long-number", "group", "number-0", "half-fixed"],
)
def test_protobuf_that_is_none(message: bytes) -> None:
    """What ends too early, or has what no message has, is Malformed."""
    with pytest.raises(Malformed):
        list(fields(message))


def test_the_well_known_sockets(tmp_path) -> None:
    """The machine's engines are in /run, a user's own below that user's directory."""
    host = HostPaths(run=tmp_path)
    assert {str(one) for one in well_known_sockets(host, 0)} == {
        f"docker={tmp_path}/docker.sock",
        f"podman={tmp_path}/podman/podman.sock",
        f"containerd={tmp_path}/containerd/containerd.sock",
        f"containerd={tmp_path}/k3s/containerd/containerd.sock",
        f"crio={tmp_path}/crio/crio.sock",
    }
    assert well_known_sockets(host, 1000) == [
        EngineSocket("docker", tmp_path / "user/1000/docker.sock", 1000),
        EngineSocket("podman", tmp_path / "user/1000/podman/podman.sock", 1000),
    ]


def test_a_socket_given_on_the_command_line(tmp_path) -> None:
    """RUNTIME=PATH is a socket of the machine's, a link resolved to where it leads."""
    (tmp_path / "link").symlink_to(tmp_path / "real=x")
    assert parse_engine_socket(f"crio={tmp_path}/link") == EngineSocket("crio", tmp_path / "real=x")


@pytest.mark.parametrize(
    "text", ["", "podman", "podman=", "podman=x.sock", "=/x", "rkt=/x", "Podman=/x", "podman=/x\0"]
)
def test_a_socket_given_badly(text: str) -> None:
    """Anything else is the user's mistake, and the hint shows how it goes."""
    with pytest.raises(UsageError) as caught:
        parse_engine_socket(text)
    assert "podman=/run/podman/podman.sock" in caught.value.hint


def test_what_is_no_socket_is_not_asked(tmp_path) -> None:
    """A file, a directory, a link and nothing at all each have their reason."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    reasons = {
        name: unfit(EngineSocket("docker", tmp_path / name)) for name in ("file", "link", "no")
    }
    assert reasons["file"] == "it is no socket"
    assert "it is a link to" in reasons["link"]
    assert reasons["no"] == "there is no such socket"
    assert unfit(EngineSocket("docker", tmp_path)) == "it is no socket"
