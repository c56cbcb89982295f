"""Which API server `run` asks for the pods of this node, and which node that is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from portwatch.errors import UsageError
from portwatch.node.kubernetes.server import ApiServer, in_cluster
from portwatch.policy.words.labels import is_object_name

Command = TypeVar("Command", bound=Callable[..., Any])

NONE = "none"


@dataclass(frozen=True)
class PodSource:
    """The API server, and the node whose pods it is asked for."""

    server: ApiServer
    node_name: str


def kubernetes_options(command: Command) -> Command:
    """`--kube-config PATH` and `--node-name NAME`, as texts."""
    config = click.option(
        "--kube-config",
        metavar="PATH|none",
        help="Ask the API server of this kubeconfig for the pods of this node, `none` for nobody.  "
        "[default: in a pod, the cluster's; else nobody]",
    )
    node = click.option(
        "--node-name",
        metavar="NAME",
        help="This node, as the cluster calls it.  [default: $NODE_NAME, else the host name]",
    )
    return config(node(command))


def parse_pod_source(
    kube_config: str | None, node_name: str | None, environment: Mapping[str, str] = os.environ
) -> PodSource | None:
    """Return what the options and the environment come to; None where nobody is asked.
    UsageError."""
    if kube_config == NONE:
        return None
    if kube_config is not None:
        from portwatch.agent.kubernetes.kube_config import load_kube_config

        server: ApiServer | None = load_kube_config(Path(kube_config))
    else:
        server = in_cluster(environment)
    if server is None:
        return None
    name = node_name or environment.get("NODE_NAME") or socket.gethostname().lower()
    if not is_object_name(name):
        raise UsageError(f"{name!r} is no node's name", hint="kubectl get nodes; --node-name")
    return PodSource(server, name)
