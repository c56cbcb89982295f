"""The process that binds: takes requests as JSON lines, answers what the kernel said.

Run by binder.Binder in a cgroup, and a network namespace, of its own; standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # python -I leaves it out

import native_calls
import offspring
import own_spaces
import socket_steps
from socket_steps import FAMILIES, SOCKET_KINDS, libc

IP_BIND_ADDRESS_NO_PORT = 24
SO_NETNS_COOKIE = 71
STORM_ROUND = 64  # binds between two looks at whether the storm is to end

held: list[socket.socket] = []


def main() -> None:
    """Answer requests until stdin ends."""
    if "--own-network" in sys.argv:
        own_spaces.enter_own_network()
    offspring.take_over()
    serve()


def serve() -> None:
    """Say who this is, then one answer a request."""
    print(json.dumps({"pid": os.getpid(), "netns_cookie": netns_cookie()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(ANSWERS[request.pop("do")](**request)), flush=True)


def spawn(how: str, cgroup: str | None = None, activated: str | None = None) -> Any:
    """Start a child that serves too; its greeting."""
    return offspring.spawn(how, cgroup, activated, serve, __file__)


def netns_cookie() -> int:
    """What BPF calls this network namespace; 0 where the kernel does not tell, before 5.14."""
    with socket.socket() as any_socket:
        try:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(raw, "little")


def bind_all(binds: list[dict[str, Any]], times: int = 1) -> list[tuple[int, int]]:
    """Make each bind in turn, `times` over: (errno or 0, the real port)."""
    return [bind_once(**bind) for _ in range(times) for bind in binds]


def bind_once(
    protocol: str,
    family: str,
    address: str,
    port: int,
    *,
    uid: int = -1,
    gid: int = -1,
    sockaddr: str | None = None,
    v6only: bool | None = None,
    no_port: bool = False,
    reuse: bool = False,
    listen: bool = False,
    hold: bool = False,
    connect: int | None = None,
    move: str | None = None,
) -> tuple[int, int]:
    """One bind() of a new socket, by a task whose real ids are `uid` and `gid`.

    `sockaddr`: the raw address in hex, instead. `listen`: then listen, as the same. `hold`: leave
    the socket open, listening where it can. `connect`: then connect to that port of the same
    address. `move`: between socket() and bind() this process goes to that cgroup.
    """
    kind, number = SOCKET_KINDS[protocol]
    sock = socket.socket(FAMILIES[family], kind, number)
    keep = False
    try:
        if v6only is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if no_port:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if move is not None:
            Path(move, "cgroup.procs").write_text(str(os.getpid()))
        with real_ids(uid, gid):
            if sockaddr is None:
                sock.bind((address, port))
            else:
                bind_raw(sock, bytes.fromhex(sockaddr))
            if listen:
                sock.listen()
        if connect is not None:
            sock.connect((address, connect))
        if hold:
            if kind == socket.SOCK_STREAM:
                sock.listen(64)
            held.append(sock)
            keep = True
        return 0, sock.getsockname()[1]
    except OSError as err:
        return err.errno or -1, 0
    finally:
        if not keep:
            sock.close()


def bind_raw(sock: socket.socket, sockaddr: bytes) -> None:
    """Call bind() with any bytes at all, which Python's own does not allow."""
    if libc.bind(sock.fileno(), sockaddr, len(sockaddr)) != 0:
        raise OSError(ctypes.get_errno(), "bind")


@contextlib.contextmanager
def real_ids(uid: int, gid: int) -> Any:
    """Be `uid` and `gid` for a moment, while the effective ids and capabilities stay root's."""
    if uid == -1 and gid == -1:
        yield
        return
    os.setresgid(gid, -1, -1)
    os.setresuid(uid, -1, -1)
    try:
        yield
    finally:
        os.setresuid(0, -1, -1)
        os.setresgid(0, -1, -1)


def storm(binds: list[dict[str, Any]], pause_seconds: float = 0.0) -> list[tuple[int, int, int]]:
    """Bind without end until the next line on stdin: (index, errno, how many)."""
    tally: dict[tuple[int, int], int] = {}
    number = 0
    print(json.dumps("blowing"), flush=True)
    while True:
        for _ in range(STORM_ROUND):
            index = number % len(binds)
            outcome = index, bind_once(**binds[index])[0]
            tally[outcome] = tally.get(outcome, 0) + 1
            number += 1
        if pause_seconds:
            time.sleep(pause_seconds)
        if select.select([0], [], [], 0)[0]:
            sys.stdin.readline()
            return [(index, error, count) for (index, error), count in tally.items()]


def drop_privileges(uid: int, gid: int) -> int:
    """Become an ordinary user for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    return 0


def release() -> int:
    """Close every socket that is held."""
    while held:
        held.pop().close()
    return 0


def run(command: list[str]) -> tuple[int, str]:
    """Run a program as a child of this process: its exit status, and what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


ANSWERS: dict[str, Callable[..., Any]] = {
    "bind": bind_all,
    "storm": storm,
    "drop": drop_privileges,
    "release": release,
    "sysctl": own_spaces.sysctl,
    "native": native_calls.load,
    "race": native_calls.race_to_dual_stack,
    "take": socket_steps.take,
    "forget": socket_steps.forget,
    "misuse": socket_steps.misuse,
    "descriptor": socket_steps.descriptor,
    "reached": socket_steps.reached,
    "spawn": spawn,
    "child": offspring.ask,
    "unshare": own_spaces.unshare,
    "join_network": own_spaces.join_network,
    "run": run,
}

if __name__ == "__main__":
    main()
