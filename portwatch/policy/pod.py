"""A pod as the API server tells of it: what selectors go by, and what it says that it will bind."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.policy.words.labels import labels_text

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DeclaredPort:
    """A port of a pod's containers. `protocol` is tcp, udp or sctp; `port` is the one in the pod's
    own network, `host_port` the node's that leads there, None where none does."""

    protocol: str
    port: int
    host_port: int | None = None


@dataclass(frozen=True, slots=True)
class KnownPod:
    """What is known of a pod.

    `uid` is the one that its cgroup has: of a static pod, the hash of its manifest. `labels` are
    sorted by key.
    """

    uid: str
    namespace: str
    name: str
    labels: Labels = ()
    service_account: str = "default"
    host_network: bool = False
    declared_ports: tuple[DeclaredPort, ...] = ()

    @property
    def declared(self) -> frozenset[tuple[str, int]]:
        """Protocols and ports that `declared` means: those of its containers, in its network."""
        found = {(one.protocol, one.port) for one in self.declared_ports}
        if self.host_network:
            found |= {(one.protocol, one.host_port) for one in self.declared_ports if one.host_port}
        return frozenset(found)

    @property
    def labels_text(self) -> str:
        """The labels as one text, as selectors are held against them."""
        return labels_text(self.labels)
