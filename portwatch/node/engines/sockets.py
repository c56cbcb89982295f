"""Where engines listen, and which of those sockets may be asked."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from portwatch.errors import UsageError
from portwatch.node.paths import HostPaths

SYSTEM = 0  # the owner of the engines that are the machine's

SYSTEM_SOCKETS = {
    "docker": ("docker.sock",),
    "podman": ("podman/podman.sock",),
    "containerd": ("containerd/containerd.sock", "k3s/containerd/containerd.sock"),
    "crio": ("crio/crio.sock",),
}
"""By runtime, below /run."""

USER_SOCKETS = {"docker": ("docker.sock",), "podman": ("podman/podman.sock",)}
"""By runtime, below /run/user/UID: a user's own engines, which run without root."""

RUNTIMES = tuple(SYSTEM_SOCKETS)


@dataclass(frozen=True, slots=True)
class EngineSocket:
    """A socket on which an engine may listen; `owner_uid` 0 is the machine, else that user."""

    runtime: str
    path: Path
    owner_uid: int = SYSTEM

    def __str__(self) -> str:
        return f"{self.runtime}={os.fsencode(self.path).decode('utf-8', 'backslashreplace')}"


def well_known_sockets(host: HostPaths, owner_uid: int) -> list[EngineSocket]:
    """Return where the engines of one owner listen, whether or not they are there."""
    directory = host.run if owner_uid == SYSTEM else host.run / "user" / str(owner_uid)
    sockets = SYSTEM_SOCKETS if owner_uid == SYSTEM else USER_SOCKETS
    return [
        EngineSocket(runtime, directory / path, owner_uid)
        for runtime, paths in sockets.items()
        for path in paths
    ]


def parse_engine_socket(text: str) -> EngineSocket:
    """Return the socket that `RUNTIME=PATH` means; UsageError for anything else."""
    runtime, equals, path = text.partition("=")
    example = "for example podman=/run/podman/podman.sock"
    if not equals or not path.startswith("/"):
        raise UsageError(f"{text!r} is not RUNTIME=PATH", hint=example)
    if runtime not in RUNTIMES:
        raise UsageError(
            f"{runtime!r} is no container engine", hint=f"one of {', '.join(RUNTIMES)}; {example}"
        )
    if "\0" in path:
        raise UsageError(f"{text!r} is not RUNTIME=PATH: a path has no NUL", hint=example)
    return EngineSocket(runtime, Path(os.path.realpath(path)))


def unfit(socket: EngineSocket) -> str | None:
    """Return why a socket is not asked, None where it is fit.

    Whoever owns it answers for the containers of `owner_uid`, so it has to be that user's. A link
    leads to a socket that is asked under its own name, or to another user's.
    """
    try:
        status = os.lstat(socket.path)
    except FileNotFoundError:
        return "there is no such socket"
    except OSError as err:
        return err.strerror or str(err)
    if stat.S_ISLNK(status.st_mode):
        return f"it is a link to {os.path.realpath(socket.path)!r}, which is another socket"
    if not stat.S_ISSOCK(status.st_mode):
        return "it is no socket"
    if status.st_uid != socket.owner_uid:
        return f"it belongs to uid {status.st_uid}, not to uid {socket.owner_uid}"
    return None
