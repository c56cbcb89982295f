"""What an engine says of a container, in one form for all engines: bounded, and JSON-safe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from portwatch.errors import EngineFailed

MAX_TEXT = 1024  # of a name or an image; cut, it might be taken for another
MAX_LABELS = 16
MAX_LABEL_TEXT = 128
IMAGE_LABELS = ("org.opencontainers.image.", "org.label-schema.")

CONTAINER_ID = re.compile("[0-9a-f]{64}", re.ASCII)
_DIGEST = re.compile("(?:sha256:)?([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container. `id` is whole; `runtime` is docker, podman, containerd or crio.

    `image` is as its engine names it, None where the engine has only an id; `image_id` is
    `sha256:…` or None; `labels` are sorted pairs, those that only describe the image left out.
    """

    id: str
    runtime: str
    name: str
    image: str | None
    image_id: str | None
    labels: tuple[tuple[str, str], ...]


def engine_text(value: object, what: str) -> str:
    """Return a text that an engine sent, JSON-safe; EngineFailed where it is none, or too long."""
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode()  # JSON can hold lone surrogates
    else:
        raise EngineFailed(f"it gives {what} that is no text")
    if len(text) > MAX_TEXT:
        raise EngineFailed(f"it gives {what} of {len(text):,} characters")
    return text


def image_name(text: str, image_id: str | None) -> str | None:
    """Return an image as it is named; None where this is only its id, or the start of it."""
    is_id = _DIGEST.fullmatch(text) or (image_id or "").startswith((text, f"sha256:{text}"))
    return None if not text or is_id or text.startswith("<none>") else text


def image_digest(text: str) -> str | None:
    """Return `sha256:…` of an image's id or of a reference that ends in one, else None."""
    found = _DIGEST.fullmatch(text.rpartition("@")[2])
    return f"sha256:{found[1]}" if found else None


def workload_labels(
    labels: Mapping[str, object] | Mapping[bytes, object],
) -> tuple[tuple[str, str], ...]:
    """Return the labels worth keeping: at most MAX_LABELS, their texts cut at MAX_LABEL_TEXT."""
    kept = []
    for key, value in labels.items():
        name = _label_text(key)
        if name and len(name) <= MAX_LABEL_TEXT and not name.startswith(IMAGE_LABELS):
            kept.append((name, _label_text(value)[:MAX_LABEL_TEXT]))
    return tuple(sorted(kept)[:MAX_LABELS])


def _label_text(value: object) -> str:
    """Return a label's key or value, which may be of any length."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    raise EngineFailed("it gives a label that is no text")
