"""Calls of the container runtime interface (CRI) over a unix socket, as a kubelet makes them.

curl speaks HTTP/2, so that a test of portwatch's own client has another one beside it. Messages:
k8s.io/cri-api, pkg/apis/runtime/v1/api.proto; the numbers of their fields are in whoever asks.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from portwatch.node.engines.protobuf import field, fields

SECONDS = 60
PREFIX_BYTES = 5  # gRPC: compressed or not, the length in four bytes


def call(engine: Path, method: str, message: bytes = b"") -> bytes:
    """The answer of the runtime service; AssertionError with what the engine said against it."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--http2-prior-knowledge"),
            *("--unix-socket", str(engine), "--max-time", str(SECONDS)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--dump-header", "/dev/stderr", "--data-binary", "@-"),
            f"http://localhost/runtime.v1.RuntimeService/{method}",
        ],
        input=b"\0" + len(message).to_bytes(4, "big") + message,
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode()
    assert done.returncode == 0 and "grpc-status: 0" in said, f"{method}: {said}"
    return done.stdout[PREFIX_BYTES:]


def text(message: bytes, number: int) -> str:
    """A message's field that is a text."""
    value = dict(fields(message))[number]
    assert isinstance(value, bytes)
    return value.decode()


def texts(number: int, entries: Mapping[str, str]) -> bytes:
    """A field that is a map of texts."""
    return b"".join(
        field(number, field(1, key) + field(2, value)) for key, value in entries.items()
    )
