"""Who binds, and which workloads a selector means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from portwatch.policy.pod import KnownPod
from portwatch.policy.words.containers import is_id_prefix
from portwatch.policy.words.globs import match_name, match_path
from portwatch.policy.words.images import image_names
from portwatch.policy.words.labels import match_labels
from portwatch.policy.words.places import Place, place_of

__all__ = [
    "CGROUP_KEYS",
    "CONTAINED_KEYS",
    "MAX_ID",
    "OF_API_SERVER",
    "OF_ENGINES",
    "POD_KEYS",
    "SELECTOR_KEYS",
    "WITNESSES",
    "KnownContainer",
    "KnownPod",
    "Names",
    "Selector",
    "Subject",
    "Workload",
    "declared_ports",
    "in_words",
    "match_key",
    "names_of",
]

OF_API_SERVER = ("pod_namespace", "pod_name", "pod_labels", "pod_account", "pod_known")
"""What the API server says of a pod; the patterns under `pod_labels` are label selectors, those
under `pod_known` `true` and `false`."""

OF_ENGINES = ("container", "image")
POD_KEYS = ("pod", *OF_API_SERVER)
CONTAINED_KEYS = (*OF_ENGINES, *POD_KEYS)
CGROUP_KEYS = ("unit", "slice", *CONTAINED_KEYS, "cgroup")
SELECTOR_KEYS = (*CGROUP_KEYS, "user", "group")

WITNESSES = {
    "slice": ("cgroup", "user", "group"),
    "unit": ("slice", "cgroup", "user", "group"),
    **dict.fromkeys(CONTAINED_KEYS, ("unit", "slice", "cgroup", "user", "group")),
}
"""What has to stand beside a key in a selector for names that are only claimed to count."""

MAX_ID = 0xFFFFFFFE
"""The largest uid or gid; the one above means "none"."""


@dataclass(frozen=True, slots=True)
class KnownContainer:
    """What its engine says of a container, and the API server of the pod that it is in.

    `is_verified`: an engine of the system's says so of this very cgroup, which settles what a
    path only claims. A pod may be known where nothing is of the container.
    """

    name: str | None = None
    images: tuple[str, ...] = ()
    is_verified: bool = False
    pod: KnownPod | None = None


@dataclass(frozen=True)
class Subject:
    """The task that binds: its cgroup, its real ids and their names, its network.

    An id with several account names has the others in the aliases.
    """

    cgroup: str = "/"
    uid: int = 0
    gid: int = 0
    user: str | None = None
    group: str | None = None
    host_network: bool = True
    user_aliases: tuple[str, ...] = ()
    group_aliases: tuple[str, ...] = ()
    container: KnownContainer | None = None

    @property
    def pod(self) -> KnownPod | None:
        """What the API server says of the pod that the task is in."""
        return self.container.pod if self.container else None

    def declares(self, protocol: str, port: int) -> bool:
        """Return whether `declared` means the port."""
        return (protocol, port) in declared_ports(self.cgroup, self.container)


@dataclass(frozen=True, slots=True)
class Names:
    """What a cgroup goes by under one key, and what it or its like only claim."""

    believed: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()

    def seen_by(self, with_claims: bool) -> tuple[str, ...]:
        """Return those that a selector goes by."""
        return (*self.believed, *self.claimed) if with_claims else self.believed


def names_of(cgroup: str, container: KnownContainer | None) -> dict[str, Names]:
    """Return the names of a cgroup by key; `id` are the ids that `container` may mean too."""
    place = place_of(cgroup)
    known = container or KnownContainer()
    images = tuple(name for image in known.images for name in image_names(image))
    of_container = {
        "container": (known.name,) if known.name is not None else (),
        "id": (place.container.id,) if place.container else (),
        "image": tuple(dict.fromkeys(images)),
        "pod": (place.pod,) if place.pod else (),
        **_of_api_server(place, known.pod),
    }
    is_claimed = place.is_claimed and not known.is_verified
    return {
        "unit": Names(_one(place.unit), _one(place.user_unit)),
        "slice": Names(place.slices, place.user_slices),
        **{
            key: Names((), names) if is_claimed else Names(names)
            for key, names in of_container.items()
        },
    }


def declared_ports(cgroup: str, container: KnownContainer | None) -> frozenset[tuple[str, int]]:
    """Return protocol and port of what `declared` means in a cgroup: nothing where the pod is not
    known, and nothing in a cgroup that only claims to be a pod's."""
    if container is None or container.pod is None:
        return frozenset()
    place = place_of(cgroup)
    is_believed = place.pod is not None and (not place.is_claimed or container.is_verified)
    return container.pod.declared if is_believed else frozenset()


@dataclass(frozen=True)
class Selector:
    """All keys that hold patterns have to match, each by any of its patterns.

    `origin` is the defined workload that the selector was written in.
    """

    unit: tuple[str, ...] = ()
    slice: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    pod_namespace: tuple[str, ...] = ()
    pod_name: tuple[str, ...] = ()
    pod_labels: tuple[str, ...] = ()
    pod_account: tuple[str, ...] = ()
    pod_known: tuple[str, ...] = ()
    cgroup: tuple[str, ...] = ()
    user: tuple[str | int, ...] = ()
    group: tuple[str | int, ...] = ()
    origin: str | None = field(default=None, compare=False)

    @property
    def given_keys(self) -> tuple[str, ...]:
        """The keys that hold patterns."""
        return tuple(key for key in SELECTOR_KEYS if getattr(self, key))

    @property
    def is_contained(self) -> bool:
        """Whether it means containers or pods, which most often have a network of their own."""
        return any(getattr(self, key) for key in CONTAINED_KEYS)

    def counts_claims(self, key: str) -> bool:
        """Return whether names that are only claimed count for a key of this selector."""
        return any(getattr(self, witness) for witness in WITNESSES[key])

    def mismatch(self, subject: Subject) -> str | None:
        """Return the first key that does not match, None where the selector matches."""
        names: dict[str, Names] = {}
        for key in self.given_keys:
            if key in WITNESSES:
                names = names or names_of(subject.cgroup, subject.container)
            if not self._fits(key, subject, names, claims=None):
                return key
        return None

    def is_only_claimed(self, key: str, subject: Subject) -> bool:
        """Return whether `key` would match if what is claimed were believed."""
        names = names_of(subject.cgroup, subject.container) if key in WITNESSES else {}
        return key in WITNESSES and self._fits(key, subject, names, claims=True)

    def matches(self, subject: Subject) -> bool:
        """Return whether `subject` is meant."""
        return self.mismatch(subject) is None

    def named(self, origin: str) -> Selector:
        """Return this selector as one of a defined workload's, unless it is another's already."""
        return self if self.origin else replace(self, origin=origin)

    def __str__(self) -> str:
        parts = [in_words(key, getattr(self, key)) for key in self.given_keys]
        text = " and ".join(parts)
        return f"{self.origin} ({text})" if self.origin else text

    def _fits(
        self, key: str, subject: Subject, names: dict[str, Names], claims: bool | None
    ) -> bool:
        patterns = getattr(self, key)
        if key == "cgroup":
            return any(match_path(glob, subject.cgroup) for glob in patterns)
        if key == "user":
            return _any_account(patterns, subject.uid, (subject.user, *subject.user_aliases))
        if key == "group":
            return _any_account(patterns, subject.gid, (subject.group, *subject.group_aliases))
        claims = self.counts_claims(key) if claims is None else claims
        found = names[key].seen_by(claims)
        if any(match_key(key, pattern, name) for pattern in patterns for name in found):
            return True
        ids = names["id"].seen_by(claims) if key == "container" else ()
        return any(
            is_id_prefix(word) and number.startswith(word) for word in patterns for number in ids
        )


@dataclass(frozen=True)
class Workload:
    """A defined workload: any of its selectors."""

    name: str
    selectors: tuple[Selector, ...]


def match_key(key: str, pattern: str, name: str) -> bool:
    """Return whether a name of names_of() is meant by a pattern of that key."""
    return match_labels(pattern, name) if key == "pod_labels" else match_name(pattern, name)


def in_words(key: str, patterns: Iterable[str | int], between: str = " or ") -> str:
    """Return a key of selectors and what stands under it in words."""
    if key == "pod_known":
        return between.join("known pod" if word == "true" else "unknown pod" for word in patterns)
    name = "pod service account" if key == "pod_account" else key.replace("_", " ")
    return f"{name} {between.join(map(str, patterns)) or '(none)'}"


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _of_api_server(place: Place, pod: KnownPod | None) -> dict[str, tuple[str, ...]]:
    """A cgroup in which pods begin is, until it has one of its own, that of a pod not yet known."""
    if place.pod is None or pod is None:
        is_pod = place.pod is not None or place.holds_pods
        return {**dict.fromkeys(OF_API_SERVER, ()), "pod_known": ("false",) if is_pod else ()}
    return {
        "pod_namespace": (pod.namespace,),
        "pod_name": (pod.name,),
        "pod_labels": (pod.labels_text,),
        "pod_account": (pod.service_account,),
        "pod_known": ("true",),
    }


def _any_account(
    patterns: tuple[str | int, ...], number: int, names: tuple[str | None, ...]
) -> bool:
    """Return whether an id or one of its names is meant; an id without a name matches no glob."""
    for pattern in patterns:
        if isinstance(pattern, int):
            if pattern == number:
                return True
        elif any(name is not None and match_name(pattern, name) for name in names):
            return True
    return False
