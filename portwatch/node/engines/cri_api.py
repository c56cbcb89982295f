"""The container runtime interface, which containerd and CRI-O serve to a kubelet.

Messages: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto; v1alpha2 has the same fields where it has
them at all. Only containers of pods are known here, not what was started by `ctr` or nerdctl.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from portwatch.errors import EngineFailed
from portwatch.node.engines.facts import (
    CONTAINER_ID,
    ContainerFacts,
    engine_text,
    image_digest,
    image_name,
    workload_labels,
)
from portwatch.node.engines.grpc_channel import NOT_FOUND, UNIMPLEMENTED, CallRefused, GrpcChannel
from portwatch.node.engines.protobuf import Malformed, field, fields
from portwatch.node.engines.sockets import EngineSocket

SERVICES = ("runtime.v1.RuntimeService", "runtime.v1alpha2.RuntimeService")
SANDBOX_NAME = "POD"  # as the kubelet called it with Docker
NAME_LABEL = b"io.kubernetes.container.name"


# The numbers of the fields that are read, by message.
FILTER, FILTER_ID, LISTED = 1, 1, 1
ID, METADATA, IMAGE, IMAGE_REF, LABELS = 1, 3, 4, 5, 8  # of Container
SANDBOX_LABELS = 5  # of PodSandbox, whose id is where Container has it
STATUS_ID, STATUS_VERBOSE, STATUS_STATUS, STATUS_INFO = 1, 2, 1, 2
STATUS_IMAGE = 8
METADATA_NAME, IMAGE_NAME, IMAGE_ASKED_FOR = 1, 1, 18
ENTRY_KEY, ENTRY_VALUE = 1, 2

Values = dict[int, list[int | bytes]]


class CriApi:
    """One engine; the connection is kept between questions. Not for two threads at once."""

    def __init__(self, engine: EngineSocket) -> None:
        self._runtime = engine.runtime
        self._channel = GrpcChannel(engine)
        self._service: str | None = None  # which of SERVICES it has

    def find(self, ids: Sequence[str]) -> list[ContainerFacts]:
        """Return what is known of containers by full id, unknown ones left out; EngineFailed."""
        asked = {one for one in ids if CONTAINER_ID.fullmatch(one)}
        if not asked:
            return []
        found = [self._facts(values) for values in self._list("ListContainers", asked)]
        missing = asked - {facts.id for facts in found}
        if missing:
            found += [self._sandbox(one) for one in self._list("ListPodSandbox", missing)]
        return [self._with_image(one) for one in found]

    def first_process(self, container_id: str) -> int | None:
        """Return the pid of a container's first process, None where it has none; EngineFailed."""
        status = self._status(container_id, verbose=True)
        if status is None:
            return None
        info = _texts(status[STATUS_INFO]).get(b"info")  # free form by CRI; both engines' is this
        try:
            found = json.loads(info) if info else {}
        except (ValueError, RecursionError) as err:
            raise EngineFailed("it gives information that is no JSON") from err
        pid = found.get("pid") if isinstance(found, dict) else None
        return pid if type(pid) is int and pid > 0 else None

    def close(self) -> None:
        """Give the connection back; the next question makes another."""
        self._channel.close()
        self._service = None  # it may be another version that comes back

    def _list(self, method: str, ids: set[str]) -> list[Values]:
        """Return what is listed with these ids."""
        # It can filter by one id only.
        wanted = field(FILTER, field(FILTER_ID, min(ids))) if len(ids) == 1 else b""
        listed = [_values(item) for item in _values(self._call(method, wanted))[LISTED]]
        return [values for values in listed if engine_text(_last(values[ID]), "an id") in ids]

    def _with_image(self, facts: ContainerFacts) -> ContainerFacts:
        """Return the facts with an image's name: a kubelet asks for images by id, as a rule."""
        is_asked = facts.image is None and facts.name != SANDBOX_NAME
        status = self._status(facts.id, verbose=False) if is_asked else None
        if status is None:
            return facts
        image = _values(_last(_values(_last(status[STATUS_STATUS]))[STATUS_IMAGE]))
        return replace(facts, image=_image(image, facts.image_id))

    def _status(self, container_id: str, verbose: bool) -> Values | None:
        """Return a ContainerStatusResponse, None where it is another's or there is none."""
        request = field(STATUS_ID, container_id) + field(STATUS_VERBOSE, int(verbose))
        try:
            status = _values(self._call("ContainerStatus", request))
        except CallRefused as err:
            if err.status == NOT_FOUND:
                return None
            raise
        described = _values(_last(status[STATUS_STATUS]))
        return status if _last(described[ID]) == container_id.encode() else None

    def _call(self, method: str, request: bytes) -> bytes:
        for service in [self._service] if self._service else SERVICES:
            try:
                answer = self._channel.call(f"/{service}/{method}", request)
            except CallRefused as err:
                if err.status == UNIMPLEMENTED:
                    continue
                raise
            self._service = service
            return answer
        self._service = None
        raise EngineFailed("it does not serve the container runtime interface (CRI)")

    def _facts(self, values: Values) -> ContainerFacts:
        labels = _texts(values[LABELS])
        metadata, image = _values(_last(values[METADATA])), _values(_last(values[IMAGE]))
        image_ref = _last(values[IMAGE_REF]) or _last(image[IMAGE_NAME])
        image_id = image_digest(engine_text(image_ref, "an image's reference"))
        return ContainerFacts(
            engine_text(_last(values[ID]), "an id"),
            self._runtime,
            engine_text(_last(metadata[METADATA_NAME]) or labels.get(NAME_LABEL, b""), "a name"),
            _image(image, image_id),
            image_id,
            workload_labels(labels),
        )

    def _sandbox(self, values: Values) -> ContainerFacts:
        """A pod's first container, which keeps its namespaces, and is in no list of containers."""
        container_id = engine_text(_last(values[ID]), "an id")
        labels = workload_labels(_texts(values[SANDBOX_LABELS]))
        return ContainerFacts(container_id, self._runtime, SANDBOX_NAME, None, None, labels)


def _image(spec: Values, image_id: str | None) -> str | None:
    """Return an ImageSpec's name: of what is used, else of what the pod asked for."""
    for at in (IMAGE_NAME, IMAGE_ASKED_FOR):
        name = image_name(engine_text(_last(spec[at]), "an image"), image_id)
        if name:
            return name
    return None


def _values(message: bytes | int) -> Values:
    """Return a message's values by field number, missing ones as empty lists; EngineFailed."""
    if isinstance(message, int):
        raise EngineFailed("it gives a number in place of a message")
    values: Values = defaultdict(list)
    try:
        for number, value in fields(message):
            values[number].append(value)
    except Malformed as err:
        raise EngineFailed(f"its answer cannot be read: {err}") from err
    return values


def _last(values: list[int | bytes]) -> bytes:
    """Return the one value of a text or message, empty where there is none; the last one counts."""
    value = values[-1] if values else b""
    if isinstance(value, int):
        raise EngineFailed("it gives a number in place of a text")
    return value


def _texts(entries: list[int | bytes]) -> dict[bytes, bytes]:
    """Return a map of texts."""
    pairs = [_values(entry) for entry in entries]
    return {_last(pair[ENTRY_KEY]): _last(pair[ENTRY_VALUE]) for pair in pairs}
