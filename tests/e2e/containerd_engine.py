"""containerd for a test, asked as kubelet asks: pods on the host's network, their containers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

import cri_calls
from container_image import IMAGE, PROGRAM, image_archive
from containers import Endpoint, written
from engine_room import engine_room
from engine_server import START_SECONDS, EngineServer
from product import eventually

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.engines.protobuf import field, fields
from portwatch.node.paths import HostPaths

SETTINGS = """
version = 2
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{folder}/runc"
"""

# containerd asks for CPU shares for every pod; that controller is in no cgroup2 hierarchy here.
RUNC = """#!/bin/sh
sed -i 's/"cpu":{[^}]*}/"cpu":{}/' config.json 2>/dev/null
exec runc "$@"
"""

HOST_NETWORK = field(1, 2)  # NamespaceOption.network = NODE


@dataclass(frozen=True)
class Pod:
    """A pod sandbox: `id` is that of its pause container, `message` its PodSandboxConfig."""

    id: str
    name: str
    namespace: str
    uid: str
    message: bytes

    @property
    def labels(self) -> dict[str, str]:
        """What a kubelet puts on the pod and on all its containers."""
        named = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {f"io.kubernetes.pod.{key}": value for key, value in named.items()}


@dataclass(frozen=True)
class PodContainer:
    """A container that was started in a pod."""

    engine: Containerd
    id: str
    name: str
    binds: int
    log: Path

    @cached_property
    def pid(self) -> int:
        """Its first process, as the machine numbers it."""
        verbose = field(1, self.id) + field(2, 1)
        status = cri_calls.call(self.engine.socket, "ContainerStatus", verbose)
        infos = [dict(fields(value)) for number, value in fields(status) if number == 2]
        return int(json.loads(next(info[2] for info in infos if info[1] == b"info"))["pid"])

    @cached_property
    def path(self) -> str:
        """Its cgroup below the root of cgroup2: the one that is called after it."""
        (found,) = self.engine.room.cgroup.rglob(self.id)
        return f"/{found.relative_to(find_cgroup2(HostPaths()))}"

    @property
    def said(self) -> list[str]:
        """What each of its binds came to, in order: "ok" or the errno's name."""
        eventually(lambda: len(self._lines()) >= self.binds, START_SECONDS, f"{self.name} bound")
        return self._lines()

    def remove(self) -> None:
        """End it at once and forget it."""
        cri_calls.call(self.engine.socket, "RemoveContainer", field(1, self.id))

    def _lines(self) -> list[str]:
        # The format of CRI's logs: time, stream, F or P, text.
        return [line.split()[3] for line in self.log.read_text().splitlines()]


class Containerd(EngineServer):
    """containerd with its CRI plugin at work; `socket` is where CRI answers."""

    def pod(self, name: str, uid: str, namespace: str = "default") -> Pod:
        """A pod on the host's network, its cgroup where kubelet puts those of best effort."""
        pod = Pod("", name, namespace, uid, b"")  # made below
        parent = field(1, f"{self.path}/kubepods/besteffort/pod{uid}")
        message = b"".join(
            [
                field(1, field(1, name) + field(2, uid) + field(3, namespace)),
                field(3, str(self.socket.parent)),  # log_directory
                cri_calls.texts(6, pod.labels),
                field(8, parent + field(2, field(1, HOST_NETWORK))),  # linux
            ]
        )
        answer = cri_calls.call(self.socket, "RunPodSandbox", field(1, message))
        return replace(pod, id=cri_calls.text(answer, 1), message=message)

    def run(
        self, pod: Pod, name: str, *binds: Endpoint, labels: Mapping[str, str] | None = None
    ) -> PodContainer:
        """Start a container whose first process makes these binds, listens (TCP) and stays."""
        log = f"{pod.id}-{name}.log"
        named = {"io.kubernetes.container.name": name}
        message = b"".join(
            [
                field(1, field(1, name)),
                field(2, field(1, IMAGE)),
                field(3, PROGRAM),
                *(field(4, word) for word in written(binds)),
                cri_calls.texts(9, pod.labels | named | dict(labels or {})),
                field(11, log),
                field(15, field(2, field(3, HOST_NETWORK))),  # linux.security_context
            ]
        )
        request = field(1, pod.id) + field(2, message) + field(3, pod.message)
        made = cri_calls.text(cri_calls.call(self.socket, "CreateContainer", request), 1)
        cri_calls.call(self.socket, "StartContainer", field(1, made))
        return PodContainer(self, made, name, len(binds), self.socket.with_name(log))

    def answers(self) -> bool:
        """Whether CRI does now."""
        try:
            return bool(cri_calls.call(self.socket, "Version"))
        except AssertionError:
            return False


@contextmanager
def containerd(cgroup: Path) -> Iterator[Containerd]:
    """containerd with CRI served; `cgroup` must not exist yet."""
    folder = Path(mkdtemp(prefix="portwatch-containerd-"))
    settings, runtime = folder / "config.toml", folder / "runc"
    settings.write_text(SETTINGS.format(folder=folder, image=IMAGE))
    runtime.write_text(RUNC)
    runtime.chmod(0o755)
    api = folder / "containerd.sock"
    server = ["containerd", f"--config={settings}", "--log-level=error"]
    try:
        with engine_room(cgroup) as room:
            engine = Containerd("containerd", room, api, server)
            try:
                engine.start()
                load = ["images", "import", "--snapshotter=native", image_archive()]
                room.run("ctr", f"--address={api}", "--namespace=k8s.io", *load)
                yield engine
            finally:
                engine.stop()
    finally:
        shutil.rmtree(folder)
