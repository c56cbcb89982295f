"""Real containers for a test: an engine with its API socket, and what it runs.

`with podman(cgroup) as engine:` (podman_engine, docker_engine) starts one;
`engine.run("web", ("tcp", "0.0.0.0", 8080))` gives a container whose first process binds that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from container_image import IMAGE, PROGRAM
from engine_server import START_SECONDS, EngineServer
from product import eventually

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

Endpoint = tuple[str, str, int]
"""Protocol (tcp, udp), address, port."""


@dataclass(frozen=True)
class Container:
    """One that was started; gone with its engine at the latest."""

    engine: Engine
    id: str
    name: str
    binds: int

    @cached_property
    def pid(self) -> int:
        """Its first process, as the machine numbers it."""
        return int(self.inspect()["State"]["Pid"])

    @cached_property
    def path(self) -> str:
        """Its cgroup below the root of cgroup2: the one that is called after it."""
        found = list(self.engine.room.cgroup.rglob(f"*{self.id}"))
        assert len(found) == 1, f"{self.name}: {found}"
        return f"/{found[0].relative_to(find_cgroup2(HostPaths()))}"

    @property
    def cgroup(self) -> Path:
        """The same as a directory."""
        return find_cgroup2(HostPaths()) / self.path[1:]

    @property
    def said(self) -> list[str]:
        """What each of its binds came to, in order: "ok" or the errno's name."""
        lines: list[str] = []

        def all_said() -> bool:
            lines[:] = self.engine.cli("logs", self.id).split()
            return len(lines) >= self.binds

        eventually(all_said, START_SECONDS, f"{self.name} has bound")
        return lines

    def inspect(self) -> dict[str, Any]:
        """What the engine's `inspect` says of it."""
        facts: dict[str, Any] = json.loads(self.engine.cli("inspect", self.id))[0]
        return facts

    def bind(self, *endpoints: Endpoint) -> list[str]:
        """Another process in it (`exec`) binds and ends: what each bind came to."""
        words = self.engine.cli("exec", self.id, PROGRAM, "--exit", *written(endpoints))
        return words.split()

    def remove(self) -> None:
        """End it at once and forget it."""
        self.engine.cli("rm", "--force", self.id)


@dataclass
class Engine(EngineServer):
    """Podman or Docker: the same words for both."""

    client: Sequence[str]

    def cli(self, *arguments: object) -> str:
        """The engine's own command: its output."""
        return self.room.run(*self.client, *arguments, env=os.environ | self.environment)

    def run(
        self,
        name: str,
        *binds: Endpoint,
        network: str = "host",
        below: str = "",
        labels: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Container:
        """Start a container whose first process makes these binds, listens (TCP) and stays.

        `network`: `host`, `none` (one of its own, with loopback only) or `container:NAME`.
        `below`: its cgroup's parent, relative to the engine's. `options`: more of the engine's own.
        Returns once it runs, maybe before it has bound: `said` waits for that.
        """
        place = [f"--network={network}", f"--cgroup-parent={Path(self.path, below)}"]
        labelled = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        return self.run_with(name, binds, [*place, *labelled, *options])

    def run_with(self, name: str, binds: Sequence[Endpoint], options: Sequence[str]) -> Container:
        """The same with nothing but these options."""
        words = ["run", "--detach", f"--name={name}", *options, IMAGE, PROGRAM]
        return Container(self, self.cli(*words, *written(binds)).strip(), name, len(binds))


def written(endpoints: Iterable[Endpoint]) -> list[str]:
    """Endpoints as the program in the image is given them."""
    return ["/".join(map(str, endpoint)) for endpoint in endpoints]
