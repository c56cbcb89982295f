"""Real binds by a process of one's own, in a cgroup and a network namespace of its own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portwatch.node.netns import HostNetwork

PROCESS = Path(__file__).with_name("binder_process.py")
GOODBYE_SECONDS = 5

Step = tuple[Any, ...]
"""What to do with a socket, and its arguments; see socket_steps.STEPS."""


@dataclass(frozen=True)
class Bind:
    """One bind to make; see binder_process.bind_once()."""

    port: int = 9000
    address: str = "127.0.0.1"
    protocol: str = "tcp"
    family: str = ""
    uid: int = -1
    gid: int = -1
    sockaddr: str | None = None
    v6only: bool | None = None
    no_port: bool = False
    reuse: bool = False
    listen: bool = False
    hold: bool = False
    connect: int | None = None
    move: str | None = None

    @property
    def socket_family(self) -> str:
        """What is said, else what the address looks like."""
        return self.family or ("ipv6" if ":" in self.address else "ipv4")

    def request(self) -> dict[str, Any]:
        """For the process's JSON."""
        return asdict(self) | {"family": self.socket_family}


@dataclass(frozen=True)
class Answer:
    """What bind() said: the name of its errno or "ok", and the real port."""

    said: str
    port: int


@dataclass(frozen=True)
class Stand:
    """How a named socket stands after its steps: the first errno and the step that it failed."""

    said: str = "ok"
    failed: str = ""
    address: str = ""
    port: int = 0
    listening: bool = False


class Binder:
    """A child that binds. `cgroup` None: it stays where the tests run."""

    def __init__(self, cgroup: Path | None, *, own_network: bool = True) -> None:
        command = [sys.executable, "-I", str(PROCESS)]
        self._process = subprocess.Popen(
            [*command, "--own-network"] if own_network else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        greeting = self._hear()
        self.pid: int = greeting["pid"]
        inode = os.stat(f"/proc/{self.pid}/ns/net").st_ino
        self.network = HostNetwork(greeting["netns_cookie"], inode)
        if cgroup is not None:
            self.move(cgroup)

    def move(self, cgroup: Path) -> None:
        """Put the process into another cgroup."""
        (cgroup / "cgroup.procs").write_text(str(self.pid))

    def bind(self, port: int = 9000, address: str = "127.0.0.1", **more: Any) -> str:
        """Make one bind; what it said."""
        return self.answer(Bind(port, address, **more)).said

    def answer(self, bind: Bind) -> Answer:
        """Make one bind; what it said, and the port."""
        return self.answers([bind])[0]

    def answers(self, binds: Iterable[Bind], times: int = 1) -> list[Answer]:
        """Make many, in order, the whole list `times` over."""
        said = self.ask(do="bind", binds=[bind.request() for bind in binds], times=times)
        return [Answer(error_name(error), port) for error, port in said]

    def start_storm(self, binds: Iterable[Bind], pause_seconds: float = 0.0) -> None:
        """Bind in a loop until end_storm(); nothing else may be asked meanwhile."""
        requests = [bind.request() for bind in binds]
        assert self.ask(do="storm", binds=requests, pause_seconds=pause_seconds) == "blowing"

    def end_storm(self) -> dict[tuple[int, str], int]:
        """How often each bind, by its index, got each answer."""
        self._say({})
        return {(index, error_name(error)): count for index, error, count in self._hear()}

    def take(self, *steps: Step, name: str = "socket", child: bool = False) -> Stand:
        """Take steps with the named socket, up to the first that fails; see socket_steps."""
        request = {"do": "take", "name": name, "steps": steps}
        answer = self.ask(do="child", request=request) if child else self.ask(**request)
        return Stand(error_name(answer.pop("error")), **answer)

    def spawn(self, how: str, **more: Any) -> int:
        """Start a child by `fork`, `clone3` or `exec`; its pid."""
        return int(self.ask(do="spawn", how=how, **more)["pid"])

    def forget(self, *keep: str) -> None:
        """Close all named sockets but these."""
        self.ask(do="forget", keep=keep)

    def drop_privileges(self, uid: int = 65534, gid: int = 65534) -> None:
        """Become an ordinary user for good."""
        self.ask(do="drop", uid=uid, gid=gid)

    def release(self) -> None:
        """Close the sockets that were held."""
        self.ask(do="release")

    def sysctl(self, name: str, value: str) -> None:
        """Set /proc/sys/net/`name` of the process's own network namespace."""
        error = self.ask(do="sysctl", name=name, value=value)
        assert error == 0, f"{name}={value}: {error_name(error)}"

    def pick_from(self, first: int, last: int) -> None:
        """Let the kernel pick ports from this range only."""
        self.sysctl("ipv4/ip_local_port_range", f"{first} {last}")

    def ask(self, **request: Any) -> Any:
        """One request, one answer."""
        self._say(request)
        return self._hear()

    def close(self) -> None:
        """End the process, and its sockets with it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the binder ended: {self._process.poll()}"
        return json.loads(line)


def error_name(number: int) -> str:
    """The errno's name; "ok" for 0."""
    return errno.errorcode.get(number, str(number)) if number else "ok"


StartBinder = Callable[..., Binder]
"""The fixture `start_binder`: in which cgroup, and what else Binder takes."""
