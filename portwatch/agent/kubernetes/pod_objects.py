"""Pod objects of the API server → what the policy knows of a pod.

What the server sends is held against Kubernetes' own bounds: a pod whose labels pass them is not
read at all, rather than read in part, which could make a selector match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from portwatch.node.kubernetes.shapes import ContainerObject, PodObject
from portwatch.policy.pod import DeclaredPort, KnownPod
from portwatch.policy.words.containers import is_pod_uid
from portwatch.policy.words.labels import BadLabels, Requirement, is_object_name

MAX_LABELS = 128
MAX_PORTS = 256
MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"

_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_MANIFEST_HASH = re.compile(r"[0-9a-f]{32}", re.ASCII)


class NotAPod(ValueError):
    """An object that no pod can be; the message says why."""


def known_pod(pod: PodObject) -> KnownPod:
    """Return what is to be known of a pod. Raises NotAPod."""
    metadata, spec = pod.metadata, pod.spec
    labels = metadata.labels or {}
    uid = cgroup_uid(pod)
    if not is_pod_uid(uid):
        raise NotAPod("its uid is none")
    if not is_object_name(metadata.namespace) or not is_object_name(metadata.name):
        raise NotAPod("its name or namespace is none")
    account = spec.service_account_name or "default"
    if not is_object_name(account):
        raise NotAPod("its service account is none")
    if len(labels) > MAX_LABELS:
        raise NotAPod(f"it has more than {MAX_LABELS} labels")
    try:
        for key, value in labels.items():
            Requirement.of(key, "In", (value,))
    except BadLabels as err:
        raise NotAPod(str(err)) from None
    containers = [*spec.containers, *(spec.init_containers or ())]
    declared = dict.fromkeys(_declared(containers, spec.host_network))
    if len(declared) > MAX_PORTS:
        raise NotAPod(f"it declares more than {MAX_PORTS} ports")
    return KnownPod(
        uid,
        metadata.namespace,
        metadata.name,
        tuple(sorted(labels.items())),
        account,
        spec.host_network,
        tuple(declared),
    )


def cgroup_uid(pod: PodObject) -> str:
    """Return the uid in the pod's cgroup path.

    The kubelet names a static pod's cgroup by the hash of its manifest; the object that stands for
    it, the mirror pod, has a uid of its own and that hash as an annotation. It counts only on what
    the kubelet makes so, owned by the node, and never makes it an ordinary pod's uid.
    """
    metadata = pod.metadata
    marks = metadata.annotations or {}
    found = marks.get(HASH, "")
    is_nodes = any(
        owner.kind == "Node" and owner.name == pod.spec.node_name
        for owner in metadata.owner_references or ()
    )
    if MIRROR in marks and is_nodes and _MANIFEST_HASH.fullmatch(found):
        return found
    return metadata.uid


def _declared(containers: list[ContainerObject], host_network: bool) -> Iterator[DeclaredPort]:
    """In the host's network a port is the host's own, whether or not `hostPort` says so again."""
    for container in containers:
        for port in container.ports or ():
            protocol = _PROTOCOLS.get(port.protocol)
            if protocol is None or not 0 < port.container_port <= 65535:
                continue
            on_host = port.container_port if host_network else port.host_port
            yield DeclaredPort(protocol, port.container_port, on_host or None)
