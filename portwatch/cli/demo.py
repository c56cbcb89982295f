"""`demo`: the product on this machine, in a scratch cgroup, with nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from portwatch.errors import KernelError

ALLOWED_PORT = 28080
DENIED_PORT = 29000
START_TIMEOUT_SECONDS = 30
EVENT_TIMEOUT_SECONDS = 5

POLICY = f"""\
version: 1
mode: enforce

define:
  workloads:
    demo: {{cgroup: "{{cgroup}}"}}

constraints:
  - name: demo-ports
    for: demo
    allow: [{ALLOWED_PORT}/tcp]
    reason: "the demo was given port {ALLOWED_PORT} and no other"
"""


@click.command()
def demo() -> None:
    """Allow one bind and deny another in a scratch cgroup; show the event, the metric and the
    explanation; leave nothing behind."""
    from portwatch.cli.enforcement import cgroup_tree, require_root
    from portwatch.cli.patience import patience

    require_root()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portwatch-demo-")))
        cgroup = stack.enter_context(_scratch_cgroup(cgroup_tree().mount_point))
        policy = folder / "policy.yaml"
        policy.write_text(POLICY.replace("{cgroup}", f"/{cgroup.name}"))
        _step("The policy", policy.read_text())
        pin_dir = Path(f"/sys/fs/bpf/portwatch-demo-{os.getpid()}")
        with patience("starting the agent"):
            agent = stack.enter_context(_running_agent(policy, cgroup, pin_dir, folder))
        _step("The agent runs", f"hooks attached to {cgroup}, metrics on {agent.url}")
        _tour(cgroup, policy, agent)
    click.echo("\nNothing is left behind: no process, no cgroup, no pin.")


def _tour(cgroup: Path, policy: Path, agent: _AgentProcess) -> None:
    with _binding(cgroup, ALLOWED_PORT) as answer:
        _step(f"A process of the workload binds 127.0.0.1:{ALLOWED_PORT}", answer)
    with _binding(cgroup, DENIED_PORT) as answer:
        _step(f"It binds 127.0.0.1:{DENIED_PORT}", answer)
        _step("The event", json.dumps(_first_violation(agent.events), indent=2))
    with urllib.request.urlopen(agent.url, timeout=EVENT_TIMEOUT_SECONDS) as page:  # noqa: S310
        metrics = page.read().decode().splitlines()
    wanted = ("portwatch_violations_total{", "portwatch_enforcing ")
    _step("The metrics", "\n".join(line for line in metrics if line.startswith(wanted)))
    question = ["--cgroup", f"/{cgroup.name}", "--port", f"{DENIED_PORT}/tcp"]
    explained = subprocess.run(
        [*_portwatch(), "explain", str(policy), *question],
        capture_output=True,
        text=True,
        check=False,
    )
    _step("The explanation", explained.stdout.replace(str(policy), policy.name))


def _step(title: str, text: str) -> None:
    click.echo(click.style(f"\n▸ {title}", bold=True))
    click.echo("\n".join(f"  {line}" for line in text.rstrip().splitlines()))


@contextlib.contextmanager
def _scratch_cgroup(mount_point: Path) -> Iterator[Path]:
    cgroup = mount_point / f"portwatch-demo-{os.getpid()}"
    cgroup.mkdir()
    try:
        yield cgroup
    finally:
        cgroup.rmdir()


@dataclass(frozen=True)
class _AgentProcess:
    url: str
    events: Path


@contextlib.contextmanager
def _running_agent(
    policy: Path, cgroup: Path, pin_dir: Path, folder: Path
) -> Iterator[_AgentProcess]:
    events, log = folder / "events.jsonl", folder / "agent.log"
    command = [*_portwatch(), "run", "--policy", str(policy), "--cgroup", str(cgroup)]
    command += ["--pin-dir", str(pin_dir), "--listen", "127.0.0.1:0", "--events", str(events)]
    with log.open("w") as stderr:
        agent = subprocess.Popen(command, stderr=stderr)
    try:
        yield _AgentProcess(_wait_for_url(agent, log), events)
    finally:
        agent.send_signal(signal.SIGINT)
        agent.wait()


def _wait_for_url(agent: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"http://\S+/metrics", log.read_text())
        if found:
            return found[0]
        if agent.poll() is not None:
            break
        time.sleep(0.05)
    raise KernelError(
        f"the agent did not start: {log.read_text().strip()}", hint="portwatch doctor"
    )


@contextlib.contextmanager
def _binding(cgroup: Path, port: int) -> Iterator[str]:
    """A process of the cgroup that calls bind() and lives on; what bind() said."""
    command = [sys.executable, "-m", "portwatch.cli.demo_bind", str(cgroup), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process.stdout.readline()
        process.stdin.close()


def _first_violation(events: Path) -> dict[str, object]:
    deadline = time.monotonic() + EVENT_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for line in events.read_text().splitlines():
            event: dict[str, object] = json.loads(line)
            if event["kind"] == "violation":
                return event
        time.sleep(0.02)
    raise KernelError("no event came", hint="portwatch doctor")


def _portwatch() -> list[str]:
    return [sys.executable, "-m", "portwatch.cli.main"]
