"""Names of Podman's containers by their monitors, which know them before Podman's API does.

Podman answers for no container that is just being started, and has no daemon that could. But each
container has a conmon, started before the container's cgroup is made, with the container's id and
name on its command line (conmon(8)), and beside its bundle the storage's list of containers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from portwatch.errors import EngineFailed
from portwatch.node.engines.facts import (
    CONTAINER_ID,
    ContainerFacts,
    engine_text,
    image_digest,
    image_name,
)
from portwatch.node.engines.sockets import SYSTEM
from portwatch.node.paths import HostPaths
from portwatch.node.processes import process_ids, real_ids, started_ns

COMM = b"conmon\n"
ARGUMENT_BYTES = 16 << 10
LIST_BYTES = 4 << 20
ANCESTORS = 4  # conmon, its runtime, and what that may fork before it makes the cgroup


@dataclass(frozen=True, slots=True)
class Monitored:
    """A container that a process of `owner_uid` watches over."""

    owner_uid: int
    facts: ContainerFacts


def monitor_above(host: HostPaths, pid: int) -> Monitored | None:
    """The container of the nearest conmon among a process and its ancestors."""
    for _ in range(ANCESTORS):
        found = _monitored(host, pid)
        if found is not None:
            return found
        parent = _parent(host, pid)
        if not parent:
            return None
        pid = parent
    return None


def monitors(host: HostPaths) -> Iterator[Monitored]:
    """The containers of all conmons there are."""
    for pid in process_ids(host):
        found = _monitored(host, pid)
        if found is not None:
            yield found


def _monitored(host: HostPaths, pid: int) -> Monitored | None:
    """None for any other process, one that ends meanwhile, and one that only looks like it: in a
    container anything may be called conmon, but it has a pid namespace of its own."""
    directory = host.process(pid)
    started = started_ns(directory)
    try:
        if (directory / "comm").read_bytes() != COMM or not _is_outside(host, directory):
            return None
        with open(directory / "cmdline", "rb") as file:
            arguments = file.read(ARGUMENT_BYTES).split(b"\0")
    except OSError:
        return None
    ids = real_ids(host, pid)
    given = dict(pairwise(arguments))
    container_id = os.fsdecode(given.get(b"-c", b""))
    if ids is None or not CONTAINER_ID.fullmatch(container_id) or b"-n" not in given:
        return None
    try:
        listed = _listed(directory, container_id, given) if ids[0] == SYSTEM else {}
        facts = _facts(container_id, given, listed)
    except EngineFailed:
        return None
    return Monitored(ids[0], facts) if started_ns(directory) == started else None


def _facts(
    container_id: str, given: dict[bytes, bytes], listed: dict[str, object]
) -> ContainerFacts:
    image_id = listed.get("image-id")
    digest = image_digest(image_id) if isinstance(image_id, str) else None
    image = listed.get("image-name")
    return ContainerFacts(
        id=container_id,
        runtime="podman",
        name=engine_text(given[b"-n"], "a name"),
        image=image_name(engine_text(image, "an image"), digest) if image else None,
        image_id=digest,
        labels=(),
    )


def _listed(directory: Path, container_id: str, given: dict[bytes, bytes]) -> dict[str, object]:
    """What the storage says of a container, as the monitor sees the storage; it may be in mounts
    of its own. The bundle is STORAGE/ID/userdata, and the list STORAGE/containers.json. For the
    machine's own monitors: a user's storage may be one that never answers."""
    bundle = os.fsdecode(given.get(b"-b", b""))
    storage = Path(f"{directory}/root{bundle}").parent.parent
    try:
        with open(storage / "containers.json", "rb") as file:
            containers = json.loads(file.read(LIST_BYTES))
        found = next(one for one in containers if one["id"] == container_id)
        metadata = json.loads(found["metadata"])
    except (OSError, ValueError, TypeError, KeyError, StopIteration):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _is_outside(host: HostPaths, directory: Path) -> bool:
    theirs, ours = directory / "ns" / "pid", host.proc / "self" / "ns" / "pid"
    return os.stat(theirs).st_ino == os.stat(ours).st_ino


def _parent(host: HostPaths, pid: int) -> int | None:
    try:
        stat = (host.process(pid) / "stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[1])
