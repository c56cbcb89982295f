"""Who a cgroup is, as users read it: a name of its own, and the `workload` part of events."""

from __future__ import annotations

from typing import Any

from portwatch.agent.identity.containers import ContainerBook
from portwatch.node.engines.facts import ContainerFacts
from portwatch.node.namespaces import network_name
from portwatch.policy.pod import KnownPod
from portwatch.policy.words.containers import SHORT_ID, ContainerId
from portwatch.policy.words.places import Place, place_of

POD_LABELS = {"namespace": "io.kubernetes.pod.namespace", "name": "io.kubernetes.pod.name"}


def shown_name(path: str, book: ContainerBook) -> str:
    """What a cgroup is called where no defined workload matches: container, pod, unit, or path.

    What somebody claims below a unit has that unit before it, so that it is never taken for the
    system's own; bytes that are no UTF-8 are `?`.
    """
    place = place_of(path)
    name = _contained_name(place, book.facts(path), book.pods.of(place.pod))
    if name is not None:
        is_own = not place.is_claimed or book.is_verified(path)
        name = name if is_own else f"{place.unit}/{name}"
    elif place.user_unit is not None:
        name = f"{place.unit}/{place.user_unit}"
    return (name or place.unit or path).encode("utf-8", "replace").decode()


def workload_parts(path: str, book: ContainerBook) -> dict[str, Any]:
    """The parts of an event's workload that a cgroup tells, any bytes made printable."""
    place, facts = place_of(path), book.facts(path)
    parts: dict[str, Any] = {
        "cgroup": path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    }
    if place.unit is not None:
        parts["unit"] = place.unit
    if place.user_unit is not None:
        parts["user_unit"] = place.user_unit
    parts.update(contained_parts(place, facts, book.pods.of(place.pod)))
    if place.is_claimed and "container" in parts and not book.is_verified(path):
        parts["container"]["claimed"] = True
    return parts


def network_parts(inode: int, is_host: bool, book: ContainerBook) -> dict[str, Any]:
    """The parts of an event's bind that tell of its network namespace and whose that is."""
    parts: dict[str, Any] = {"network": network_name(inode, is_host)}
    owner = None if is_host else book.network_owner(inode)
    if owner is not None:
        place = place_of(owner)
        owns = contained_parts(place, book.facts(owner), book.pods.of(place.pod))
        parts["network_owner"] = {"pod": owns["pod"]} if "pod" in owns else owns
    return parts


def contained_parts(
    place: Place, facts: ContainerFacts | None, pod: KnownPod | None
) -> dict[str, Any]:
    """`container` and `pod`, as far as they are known."""
    parts: dict[str, Any] = {}
    if place.container is not None:
        parts["container"] = _container_parts(place.container, facts)
    if place.pod is not None:
        labels = dict(facts.labels) if facts else {}
        names = {key: labels[label] for key, label in POD_LABELS.items() if label in labels}
        parts["pod"] = {**names, **told_parts(pod), "uid": place.pod}
    return parts


def told_parts(pod: KnownPod | None) -> dict[str, Any]:
    """What the API server says of a pod, as far as events have it."""
    if pod is None:
        return {}
    told = {"namespace": pod.namespace, "name": pod.name, "service_account": pod.service_account}
    return {**told, "labels": dict(pod.labels)} if pod.labels else told


def _container_parts(container: ContainerId, facts: ContainerFacts | None) -> dict[str, Any]:
    parts: dict[str, Any] = {"id": container.id}
    if facts is not None and facts.name is not None:
        parts["name"] = facts.name
    image = facts.image or facts.image_id if facts else None
    if image is not None:
        parts["image"] = image
    if facts is not None and facts.image_id not in (None, image):
        parts["image_id"] = facts.image_id
    runtime = _runtime(container, facts)
    if runtime is not None:
        parts["runtime"] = runtime
    if facts is not None and facts.labels:
        parts["labels"] = dict(facts.labels)
    return parts


def _contained_name(place: Place, facts: ContainerFacts | None, pod: KnownPod | None) -> str | None:
    """A pod's containers share a name; others are told apart by their engine, too."""
    if place.pod is not None:
        return f"pod:{pod.namespace}/{pod.name}" if pod else f"pod:{place.pod}"
    if place.container is None:
        return None
    runtime = _runtime(place.container, facts) or "container"
    name = facts.name if facts and facts.name else place.container.id[:SHORT_ID]
    return f"{runtime}:{name}"


def _runtime(container: ContainerId, facts: ContainerFacts | None) -> str | None:
    return container.runtime or (facts.runtime if facts else None)
