"""What is known of this node's pods, by the uid that their cgroups have.

A pod is known for as long as the API server tells of it, and then until its cgroup is gone: what
is told, or not told any more, never makes a pod that runs unknown again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from portwatch.policy.pod import DeclaredPort, KnownPod

MAX_PODS = 8192
"""Many times what a kubelet runs; a server that tells of more is broken."""

MAX_WEIGHT = 16 << 20
"""Characters of labels, with WEIGHT_EACH for each label and port; 250 usual pods: 0.1 MiB."""

WEIGHT_EACH = 64


class PodBook:
    """Pods by uid. What is not `told` of any more is kept until `forget()`."""

    def __init__(self) -> None:
        self._pods: dict[str, KnownPod] = {}
        self._told: set[str] = set()
        self._weight = 0

    def __len__(self) -> int:
        """How many are known."""
        return len(self._pods)

    def __iter__(self) -> Iterator[KnownPod]:
        """Go through all that are known."""
        return iter(self._pods.values())

    def of(self, uid: str | None) -> KnownPod | None:
        """Return the pod with this uid; None where it is not known."""
        return self._pods.get(uid) if uid else None

    def learn(self, pod: KnownPod) -> bool:
        """Enter what the API server tells of a pod; whether it is news."""
        before = self._pods.get(pod.uid)
        if before is not None and pod.uid in self._told and _name(before) != _name(pod):
            return (
                False  # whoever makes a mirror pod may claim another's hash: who came first stays
            )
        weight = self._weight + _weight(pod) - (_weight(before) if before else 0)
        if weight > MAX_WEIGHT or (before is None and len(self._pods) >= MAX_PODS):
            return False
        self._weight = weight
        self._pods[pod.uid] = pod
        self._told.add(pod.uid)
        return pod != before

    def untold(self, uids: Iterable[str]) -> None:
        """The API server knows these no more."""
        self._told.difference_update(uids)

    def only_told(self, uids: Iterable[str]) -> None:
        """The API server knows these, and no others."""
        self._told.intersection_update(uids)

    def forget(self, uid: str) -> bool:
        """Its cgroup is gone: forget the pod unless it is told of; whether it is forgotten."""
        if uid in self._told:
            return False
        pod = self._pods.pop(uid, None)
        self._weight -= _weight(pod) if pod else 0
        return pod is not None

    def leftover(self) -> list[str]:
        """Return those that are not told of any more."""
        return [uid for uid in self._pods if uid not in self._told]

    def dump(self) -> list[dict[str, Any]]:
        """As JSON what `load()` takes."""
        return [asdict(pod) for pod in self._pods.values()]

    @staticmethod
    def load(dumped: Iterable[dict[str, Any]]) -> PodBook:
        """What was dumped, perhaps by another process, and is told of until something else is.
        Raises TypeError, KeyError or ValueError for what was not."""
        book = PodBook()
        for one in dumped:
            book.learn(_pod(one))
        return book


def _pod(one: dict[str, Any]) -> KnownPod:
    labels = tuple((str(key), str(value)) for key, value in one["labels"])
    ports = tuple(DeclaredPort(**port) for port in one["declared_ports"])
    return KnownPod(**{**one, "labels": labels, "declared_ports": ports})


def _weight(pod: KnownPod) -> int:
    return len(pod.labels_text) + WEIGHT_EACH * (len(pod.labels) + len(pod.declared_ports) + 4)


def _name(pod: KnownPod) -> tuple[str, str]:
    return pod.namespace, pod.name
