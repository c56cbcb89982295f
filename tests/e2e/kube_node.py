"""A node of a cluster for one test: a stand-in API server, a kubeconfig, and pods' cgroups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_server import ApiServer
from binder import Binder
from certificates import self_signed
from pod_shapes import NODE, pod_slice, uid_of
from product import AgentProcess, eventually
from sandbox import Sandbox

CONTAINER = "a1" * 32


@dataclass
class KubeNode:
    """`config` leads to the server, with a token that is read from `token_file`."""

    api: ApiServer
    config: Path
    token_file: Path
    sandbox: Sandbox

    @property
    def options(self) -> tuple[object, ...]:
        """What `run` is given."""
        return ("--kube-config", self.config, "--node-name", NODE)

    def agent(self, policy: str, *more: object) -> AgentProcess:
        """An agent that has listed the pods."""
        agent = self.sandbox.agent(self.sandbox.policy(policy), *self.options, *more)
        eventually(lambda: self.api.watches, what="the agent watches")
        return agent

    def cgroup(self, uid: str) -> Path:
        """The cgroup of a pod's container, as kubelet and containerd make it."""
        path = self.sandbox.home / pod_slice(uid) / f"cri-containerd-{CONTAINER}.scope"
        path.mkdir(parents=True)
        return path

    def binder(self, pod: dict[str, Any] | str) -> Binder:
        """A process in a pod, told by its object or by its uid."""
        uid = pod if isinstance(pod, str) else uid_of(pod)
        return self.sandbox.binder(self.cgroup(uid))


@contextmanager
def kube_node(sandbox: Sandbox) -> Iterator[KubeNode]:
    """With TLS, and a CA of its own."""
    folder = sandbox.folder
    certificate, key = self_signed(folder, "api", "IP:127.0.0.1")
    token_file = folder / "token"
    token_file.write_text("first-token\n")
    api = ApiServer("first-token", (certificate, key))
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {"server": api.url, "certificate-authority": certificate.name},
                    }
                ],
                "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            }
        )
    )
    try:
        yield KubeNode(api, config, token_file, sandbox)
    finally:
        api.close()
