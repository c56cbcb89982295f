"""A real systemd-journald of a test's own, in a mount namespace with a /run of its own."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from product import eventually, run_command

JOURNALD = "/lib/systemd/systemd-journald"
SCRIPT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nRateLimitBurst=0\\nReadKMsg=no\\n' >/run/systemd/journald.conf.d/test.conf
exec {JOURNALD}
"""


@dataclass
class Journal:
    """Where it runs, and what it has."""

    process: subprocess.Popen[bytes]

    @property
    def inside(self) -> list[str]:
        """Before a command: run it where this journal is the machine's."""
        return ["nsenter", "-t", str(self.process.pid), "-m"]

    @property
    def directory(self) -> Path:
        """Its sockets, from outside."""
        return Path(f"/proc/{self.process.pid}/root/run/systemd/journal")

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """What `journalctl` finds, with every field."""
        done = run_command([*self.inside, "journalctl", "-q", "--all", "-o", "json", *matches])
        assert done.returncode in (0, 1), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stream(self) -> socket.socket:
        """A stdout such as systemd gives to a service."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.directory / "stdout"))
        connection.sendall(b"portwatch\n\n6\n1\n0\n0\n0\n")
        return connection


@contextmanager
def running_journald() -> Iterator[Journal]:
    """One that is ready; it ends with what it has written."""
    command = ["unshare", "-m", "sh", "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        journal = Journal(process)
        try:
            eventually((journal.directory / "stdout").exists, within=15)
            yield journal
        finally:
            process.kill()
