"""portwatch as its users have it: the command, an agent at work, its events and metrics.

Everything goes through the command line; nothing here imports portwatch.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from prometheus_client.parser import text_string_to_metric_families

PORTWATCH = str(Path(sys.executable).with_name("portwatch"))
COMMAND_SECONDS = 60
START_SECONDS = 30
READY = re.compile(r"metrics on (https?://\S+)/metrics")

Done = subprocess.CompletedProcess[str]
Event = dict[str, Any]


def portwatch(*arguments: object, **more: Any) -> Done:
    """Run one command to its end, its output as text."""
    return run_command([PORTWATCH, *map(str, arguments)], **more)


def run_command(command: Sequence[str], **more: Any) -> Done:
    """Run any command to its end, its output as text, non-UTF-8 bytes kept visible."""
    given = {"stdin": subprocess.DEVNULL, "timeout": COMMAND_SECONDS, "capture_output": True}
    return subprocess.run(
        command, check=False, text=True, errors="backslashreplace", **(given | more)
    )


def eventually(probe: Callable[[], Any], within: float = 20.0, what: str = "") -> Any:
    """The first true answer of `probe`; fails where there is none in time."""
    deadline = time.monotonic() + within
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {what or probe!r}"
        time.sleep(0.02)


class AgentProcess:
    """`portwatch run` for the workloads below `home`, a cgroup's path; `before` is a command that
    becomes it."""

    def __init__(
        self,
        options: Sequence[object],
        home: str,
        stdout: int | IO[bytes] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.log = ""
        self.lines: list[bytes] = []
        self.process = subprocess.Popen(
            [*before, PORTWATCH, "run", *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._readers = [threading.Thread(target=self._read_log, daemon=True)]
        if stdout is None:
            self._readers.append(threading.Thread(target=self._read_lines, daemon=True))
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The agent's own."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it serves, by its own word."""
        found = READY.search(self.log)
        assert found, self.log
        return found[1]

    def wait_until_ready(self) -> AgentProcess:
        """Until it says that the policy is in force."""
        eventually(
            lambda: READY.search(self.log) or self.process.poll() is not None,
            START_SECONDS,
            "the agent is ready",
        )
        assert READY.search(self.log), f"status {self.process.poll()}: {self.log}"
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end: the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, within: float = 20) -> int:
        """Wait for the end: the exit status; all of its output is then read."""
        status = self.process.wait(within)
        for reader in self._readers:
            reader.join(5)
        return status

    def close(self) -> None:
        """End it whatever its state, so that the next test begins on clean ground."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    @property
    def events(self) -> list[Event]:
        """What it has printed on stdout so far."""
        return [json.loads(line) for line in self.lines]

    def violations(self, port: int | None = None) -> list[Event]:
        """The violations at home among its events, of one port or of all."""
        return violations(self.events, self.home, port)

    def page(self, path: str, **headers: str) -> tuple[bytes, Any]:
        """Body and headers of what it serves there."""
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read(), answer.headers

    def metric(self, sample: str, **labels: str) -> float:
        """The sum of a sample's values over the series that have these labels."""
        text = self.page("/metrics")[0].decode()
        return sum(
            one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        )

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line.decode()

    def _read_lines(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)


def violations(events: Iterable[Event], home: str, port: int | None = None) -> list[Event]:
    """The violations of workloads below `home`, of one port or of all."""
    return [
        event
        for event in events
        if event["kind"] == "violation"
        and (event["workload"].get("cgroup") or event["workload"]["name"]).startswith(home)
        and port in (None, event["bind"]["port"])
    ]


def children(pid: int) -> list[int]:
    """Processes that `pid` has started and that live."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split() if os.path.exists(f"/proc/{word}")]
