"""The Docker-compatible API, which Docker and Podman serve: HTTP over a unix socket.

Names come from the list of containers, which does not wait for a container that is being started;
inspecting it does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import Any
from urllib.parse import quote

from portwatch.errors import EngineFailed
from portwatch.node.engines.facts import (
    CONTAINER_ID,
    ContainerFacts,
    engine_text,
    image_digest,
    image_name,
    workload_labels,
)
from portwatch.node.engines.sockets import EngineSocket
from portwatch.node.engines.stream import EngineStream, failure

OK, NOT_FOUND = 200, 404
PIECE_BYTES = 1 << 16  # what http.client is told to read at once, it allocates at once


class _Connection(HTTPConnection):
    """Connects anew whenever it is asked without a connection."""

    sock: EngineStream | None

    def __init__(self, engine: EngineSocket) -> None:
        super().__init__("localhost")
        self._engine = engine

    def connect(self) -> None:
        self.sock = EngineStream(self._engine)


class DockerApi:
    """One engine; the connection is kept between questions. Not for two threads at once."""

    def __init__(self, engine: EngineSocket) -> None:
        self._runtime = engine.runtime
        self._connection = _Connection(engine)

    def find(self, ids: Sequence[str]) -> list[ContainerFacts]:
        """Return what is known of containers by full id, unknown ones left out; EngineFailed."""
        asked = {one for one in ids if CONTAINER_ID.fullmatch(one)}
        if not asked:
            return []
        filters = quote(json.dumps({"id": sorted(asked)}, separators=(",", ":")))
        listed = self._get(f"/containers/json?all=1&filters={filters}")
        if not isinstance(listed, list):
            raise EngineFailed("its list of containers is none")
        facts = [self._facts(item) for item in listed]
        return [one for one in facts if one.id in asked]  # it filters by prefix

    def first_process(self, container_id: str) -> int | None:
        """Return the pid of a container's first process, None where it has none; EngineFailed."""
        found = self._get(f"/containers/{quote(container_id, safe='')}/json")
        if found is None:
            return None
        if not isinstance(found, dict):
            raise EngineFailed("it describes a container by what is none")
        if found.get("Id") != container_id:
            return None
        state = found.get("State")
        pid = state.get("Pid") if isinstance(state, dict) else None
        if type(pid) is not int:
            raise EngineFailed("it gives a pid that is no number")
        return pid if pid > 0 else None

    def close(self) -> None:
        """Give the connection back; the next question makes another."""
        self._connection.close()

    def _get(self, target: str) -> Any:
        """Return a reply's JSON, None for NOT_FOUND."""
        try:
            status, body = self._exchange(target)
            if status == NOT_FOUND:
                return None
            if status != OK:
                raise EngineFailed(f"it answers with HTTP status {status}")
            return json.loads(body)
        except (HTTPException, OSError, ValueError, RecursionError) as err:
            self.close()
            raise failure(err, "HTTP and JSON") from err
        except BaseException:
            self.close()
            raise

    def _exchange(self, target: str) -> tuple[int, bytes]:
        if self._connection.sock:
            # One that was kept may be of an engine that has ended since.
            with contextlib.suppress(ConnectionError):
                self._connection.sock.begin()
                return self._ask(target)
            self.close()
        return self._ask(target)

    def _ask(self, target: str) -> tuple[int, bytes]:
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        body = bytearray()
        while piece := response.read(PIECE_BYTES):
            body += piece
        if response.length:
            raise IncompleteRead(bytes(body), response.length)
        return response.status, bytes(body)

    def _facts(self, item: object) -> ContainerFacts:
        if not isinstance(item, dict):
            raise EngineFailed("it lists a container that is none")
        labels = item.get("Labels") or {}
        names = item.get("Names") or []
        if not isinstance(labels, dict) or not isinstance(names, list):
            raise EngineFailed("it lists a container with names or labels of another type")
        image_id = image_digest(engine_text(item.get("ImageID") or "", "an image's id"))
        return ContainerFacts(
            engine_text(item.get("Id"), "an id"),
            self._runtime,
            _own_name([engine_text(name, "a name") for name in names]),
            image_name(engine_text(item.get("Image") or "", "an image"), image_id),
            image_id,
            workload_labels(labels),
        )


def _own_name(names: Sequence[str]) -> str:
    """Return the name of a container: the others are links, `/ANOTHER/ALIAS`."""
    own = [name.removeprefix("/") for name in names]
    return next((name for name in own if name and "/" not in name), "")
