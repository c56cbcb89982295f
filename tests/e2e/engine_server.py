"""What a container engine serves its API with: started, ended and started again by a test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine_room import EngineRoom
from product import eventually

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

START_SECONDS = 30


@dataclass
class EngineServer:
    """`runtime` is the engine's name in events, `socket` where its API answers while it runs."""

    runtime: str
    room: EngineRoom
    socket: Path
    server: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict, kw_only=True)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def path(self) -> str:
        """The cgroup that all its containers are below."""
        return f"/{self.room.cgroup.relative_to(find_cgroup2(HostPaths()))}"

    @property
    def log(self) -> str:
        """What the API's server has said."""
        return self.socket.with_suffix(".log").read_text()

    def start(self) -> None:
        """Serve the API; returns once the engine answers."""
        with self.socket.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                self.room.command(*self.server),
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._lives_and_answers, START_SECONDS, f"{self.runtime} answers")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the API's server, stopped by a test (SIGSTOP) or not; its containers stay."""
        if self.process:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(START_SECONDS)
            self.process = None
        self.socket.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether it does now: Docker's and Podman's ping."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
        return False

    def _lives_and_answers(self) -> bool:
        assert self.process and self.process.poll() is None, self.log
        return self.answers()
