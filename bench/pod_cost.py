"""How soon a pod's labels are in force after the watch event, and what 250 pods cost the agent.

The agent and the stand-in API server are processes of their own; the kernel's table is polled from
here, so that what is measured is from the server's write to the class that binds are judged by.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.agent_cost import running_agent
from bench.ground import FIRST_PORT, Ground
from bench.rows import Row
from portwatch.kernel import layout
from portwatch.kernel.pins import PinDir

PODS = 250
AT_ONCE = 50
CHANGES = 500
CHANGES_A_SECOND = 50
BINDS_A_SECOND = 5_000
TARGET_MS = 50
POLL_SECONDS = 2e-4
GIVE_UP_SECONDS = 5.0
POLICY = """version: 1
mode: enforce
pods: {unknown: deny}
constraints:
  - {name: api, for: {pod: {labels: {app: api}}}, allow: [8080]}
  - {name: web, for: {pod: {labels: {app: web}}}, allow: [80]}
  - {name: rest, for: {pod: {namespace: shop, labels: "app notin (api,web)"}}, allow: [9000-9099]}
"""

Pod = dict[str, Any]


class Server:
    """The stand-in, by its stdin and stdout."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.pod_server", str(certificate), str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        self.facts: dict[str, Any] = {}

    def put(self, pods: Sequence[Pod]) -> list[float]:
        """When each was told."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(pods) + "\n")
        self._process.stdin.flush()
        self.facts = json.loads(self._process.stdout.readline())
        return [float(moment) for moment in self.facts["told"]]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class Classes:
    """The classes of cgroups, as the kernel has them now."""

    def __init__(self, pins: PinDir) -> None:
        self._table, self._control = pins.open_map("cgroups"), pins.open_map("control")

    def of(self, number: int) -> int | None:
        """The class of the cgroup with this id."""
        generation = layout.Control.from_buffer_copy(self._control.get(bytes(4)) or bytes(8))
        key = bytes(layout.CgroupKey(id=number, generation=generation.generation))
        found = self._table.get(key)
        return layout.CgroupClass.from_buffer_copy(found).class_ if found else None

    def until_changed(self, before: dict[int, int | None]) -> dict[int, float]:
        """When the class of each was first seen to be another; 0 where it stays."""
        changed: dict[int, float] = {}
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while len(changed) < len(before) and time.monotonic() < deadline:
            for number, old in before.items():
                if number not in changed and self.of(number) != old:
                    changed[number] = time.monotonic()
            time.sleep(POLL_SECONDS)
        return {number: changed.get(number, 0.0) for number in before}

    def close(self) -> None:
        """Give the maps back."""
        self._table.close()
        self._control.close()


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about pods."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
    shapes: Any = importlib.import_module("pod_shapes")
    cgroup, pins = ground.cgroup("pods"), ground.pin_dir("pods")
    policy = ground.folder / "pods.yaml"
    policy.write_text(POLICY)
    with contextlib.ExitStack() as stack:
        without = _rss_without(ground, cgroup, pins, policy)
        server = stack.enter_context(contextlib.closing(Server(*_certificate(ground))))
        old = [shapes.pod(labels={"app": "other"}) for _ in range(PODS)]
        server.put(old)
        options = ("--policy", str(policy), "--kube-config", _kube_config(ground, server.url))
        agent = stack.enter_context(
            running_agent(ground, cgroup, pins, *options, "--node-name", shapes.NODE)
        )
        ids = {shapes.uid_of(pod): _make(ground, cgroup, shapes, pod) for pod in old}
        classes = stack.enter_context(contextlib.closing(Classes(pins)))
        _until_all_are_known(classes, list(ids.values()))
        listed = server.facts["bytes"]
        yield _starts(ground, cgroup, server, classes, shapes)
        yield from _changes(ground, cgroup, server, classes, shapes, old, ids)
        server.put([])
        note = f"{without:.1f} MiB with no API server to ask"
        yield Row(
            f"agent RSS that follows {PODS + AT_ONCE} pods", "MiB", agent.rss_mib, 40, note=note
        )
        size = len(json.dumps(old[0], separators=(",", ":")))
        note = f"a list of {PODS} pods: {listed / 1e6 or size * PODS / 1e6:.2f} MB"
        yield Row("a pod as the API server writes it", "bytes", size, note=note)


def _rss_without(ground: Ground, cgroup: Path, pins: PinDir, policy: Path) -> float:
    with running_agent(
        ground, cgroup, pins, "--policy", str(policy), "--kube-config", "none"
    ) as one:
        return one.rss_mib


def _starts(ground: Ground, cgroup: Path, server: Server, classes: Classes, shapes: Any) -> Row:
    """Pods that start all at once: their cgroups are there before anything is known of them."""
    new = [shapes.pod(labels={"app": "api"}) for _ in range(AT_ONCE)]
    numbers = [_make(ground, cgroup, shapes, pod) for pod in new]
    _until_all_are_known(classes, numbers)
    before = {number: classes.of(number) for number in numbers}
    with _storm(ground, cgroup, shapes, new[0]):
        told = server.put(new)
        changed = classes.until_changed(before)
    figures = [_ms(changed[number], moment) for number, moment in zip(numbers, told, strict=True)]
    what = f"{AT_ONCE} pods told of at once among {PODS}, in force: 99th percentile"
    return _row(what, figures)


def _changes(
    ground: Ground,
    cgroup: Path,
    server: Server,
    classes: Classes,
    shapes: Any,
    old: list[Pod],
    ids: dict[str, int],
) -> Iterator[Row]:
    """Labels that change, one pod after the other, while a pod binds as fast as it may."""
    figures = []
    sent = server.facts["bytes"]
    with _storm(ground, cgroup, shapes, old[0]):
        for number in range(CHANGES):
            pod = old[number % PODS]
            labels = {"app": ("api", "web")[number // PODS % 2]}
            where = ids[shapes.uid_of(pod)]
            before: dict[int, int | None] = {where: classes.of(where)}
            (told,) = server.put([shapes.labelled(pod, **labels)])
            figures.append(_ms(classes.until_changed(before)[where], told))
            time.sleep(1 / CHANGES_A_SECOND)
    yield _row("a label changed under a bind storm, in force: 99th percentile", figures)
    each = (server.facts["bytes"] - sent) / CHANGES
    yield Row("bytes of a watch event", "bytes", each)


def _row(what: str, figures: list[float]) -> Row:
    median, worst = statistics.median(figures), max(figures)
    note = f"median {median:.2g} ms, worst {worst:.2g} ms of {len(figures)}"
    p99 = sorted(figures)[min(len(figures) - 1, int(len(figures) * 0.99))]
    return Row(what, "ms", p99, TARGET_MS, note=note)


def _ms(changed: float, told: float) -> float:
    return (changed - told) * 1e3 if changed else GIVE_UP_SECONDS * 1e3


@contextlib.contextmanager
def _storm(ground: Ground, cgroup: Path, shapes: Any, pod: Pod) -> Iterator[None]:
    """A process of one of the pods that binds until it is ended."""
    where = cgroup / shapes.pod_slice(shapes.uid_of(pod))
    command = [str(ground.loop), str(where), "100000000", str(FIRST_PORT), "100"]
    with subprocess.Popen([*command, str(BINDS_A_SECOND)], stdout=subprocess.DEVNULL) as storm:
        time.sleep(0.5)
        try:
            yield
        finally:
            storm.kill()


def _make(ground: Ground, cgroup: Path, shapes: Any, pod: Pod) -> int:
    """A pod's cgroup; its id."""
    path = cgroup / shapes.pod_slice(shapes.uid_of(pod))
    for parent in reversed([path, *path.parents]):
        if not parent.exists():
            parent.mkdir()
            ground.cgroups.append(parent)
    return int(path.stat().st_ino)


def _until_all_are_known(classes: Classes, numbers: list[int]) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while any(classes.of(number) is None for number in numbers):
        if time.monotonic() > deadline:
            raise RuntimeError("the agent does not see the cgroups of pods")
        time.sleep(0.01)


def _certificate(ground: Ground) -> tuple[Path, Path]:
    certificate, key = ground.folder / "api.pem", ground.folder / "api.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=api",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command += ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _kube_config(ground: Ground, url: str) -> str:
    path = ground.folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "bench",
                "contexts": [{"name": "bench", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": url, "certificate-authority": "api.pem"}}
                ],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return str(path)
