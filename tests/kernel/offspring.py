"""Children of the process that binds: forked, cloned into a cgroup, or executed as a service that
is activated with a socket. Standard library only, as binder_process.py.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import native_calls
import socket_steps

ACTIVATED = 3  # SD_LISTEN_FDS_START

children: list[tuple[TextIO, TextIO]] = []


def spawn(
    how: str,
    cgroup: str | None,
    activated: str | None,
    serve: Callable[[], None],
    program: str,
) -> Any:
    """Start a child by `fork`, `clone3` or `exec`; its greeting.

    Forked and cloned ones have all sockets, an executed one that called `activated` alone.
    """
    down, up = os.pipe(), os.pipe()
    if (clone_into(cgroup) if how == "clone3" else os.fork()) == 0:
        if how != "clone3" and cgroup is not None:
            socket_steps.join_cgroup("", cgroup)
        os.dup2(down[0], 0)
        os.dup2(up[1], 1)
        os.close(down[1])
        if how == "exec":
            execute(program, activated)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        serve()
        os._exit(0)
    os.close(down[0])
    os.close(up[1])
    children.append((os.fdopen(down[1], "w"), os.fdopen(up[0])))
    return hear()


def clone_into(cgroup: str | None) -> int:
    """As fork(), into the cgroup at once."""
    assert cgroup is not None
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return native_calls.clone_into(directory)
    finally:
        os.close(directory)


def execute(program: str, activated: str | None) -> None:
    """Become a fresh process of the program, with the socket as service managers pass it on."""
    if activated is not None:
        os.dup2(socket_steps.sockets[activated].fileno(), ACTIVATED)
        os.set_inheritable(ACTIVATED, True)  # where it was number 3 before, dup2() changed nothing
        os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
    os.execv(sys.executable, [sys.executable, "-I", str(Path(program).resolve())])


def take_over() -> None:
    """The socket that this process was activated with, if it was; it is called `activated`."""
    if os.environ.pop("LISTEN_PID", "") == str(os.getpid()):
        assert os.environ.pop("LISTEN_FDS") == "1"
        socket_steps.sockets["activated"] = socket.socket(fileno=ACTIVATED)


def ask(request: dict[str, Any]) -> Any:
    """What the youngest child answers."""
    pipe = children[-1][0]
    pipe.write(json.dumps(request) + "\n")
    pipe.flush()
    return hear()


def hear() -> Any:
    """One line of the youngest child."""
    return json.loads(children[-1][1].readline())
