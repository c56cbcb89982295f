"""Whose bind it was, as the narrowest selector that will mean the same workload tomorrow.

A pod that is known goes by its labels; a container by its name, else its image, else its pod's
uid; then the unit; a cgroup by its path.
What is only claimed below a unit has that unit, or its user, beside it (workload.WITNESSES).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from portwatch.policy.words.containers import SHORT_ID
from portwatch.policy.words.globs import components
from portwatch.policy.words.labels import labels_text
from portwatch.policy.words.places import Place, place_of
from portwatch.policy.words.systemd import user_of_manager
from portwatch.policy.workload import KnownContainer, KnownPod

Keys = tuple[tuple[str, str | int], ...]

_SESSION = re.compile(r"session-[0-9a-z]+\.scope", re.ASCII)
_SPECIAL = re.compile(r"[*?\[]")
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_RANKS = {
    "pod_labels": -2,
    "pod_name": -1,
    "container": 0,
    "image": 1,
    "pod": 2,
    "unit": 3,
    "cgroup": 6,
}
_OF_ONE_POD = re.compile(
    r".*(?:-hash|pod-template-generation|/pod-name|/pod-index|controller-uid|job-name|job-completion-"
    r"index)",
    re.ASCII,
)
"""Labels that a controller gives, and that the next pod of the same workload has otherwise."""

_USER_UNIT = 4  # after the system's of that name, which may run as that user
_MANAGER = 5  # a user's manager is above all of that user's units
_ONE_CGROUP = 7
MAX_PATTERN = 1024
"""Characters that a name in a policy may have."""


class LearnedWorkload(NamedTuple):
    """A selector by its keys, the first of which is the name. `only`: this very cgroup, and nothing
    below it. `rank` and `depth` order workloads of which one may be part of another."""

    rank: int
    depth: int
    keys: Keys
    only: bool = False

    @property
    def key(self) -> str:
        """What kind of name it goes by."""
        return self.keys[0][0]

    @property
    def name(self) -> str:
        """The pattern it goes by."""
        return str(self.keys[0][1])

    @property
    def selector(self) -> dict[str, str | int | dict[str, str | int]]:
        """The keys as a policy has them: those of a pod stand together."""
        found: dict[str, str | int | dict[str, str | int]] = {}
        of_pod = {key[4:]: value for key, value in self.keys if key.startswith("pod_")}
        if of_pod:
            found["pod"] = of_pod
        return found | {key: value for key, value in self.keys if not key.startswith("pod_")}

    def called(self, pattern: str) -> LearnedWorkload:
        """The same by another pattern."""
        return self._replace(keys=((self.key, pattern), *self.keys[1:]))

    @property
    def order(self) -> tuple[object, ...]:
        """Who has to be asked for before whom; where it does not matter, by name."""
        keys = tuple((key, str(value)) for key, value in self.keys)
        return self.rank, -self.depth, "*" in self.name, keys


def workload_of(
    cgroup: str, container: KnownContainer | None, uid: int | None, user: str | None
) -> LearnedWorkload | None:
    """Who that is; None where no selector could say it."""
    place = place_of(cgroup)
    contained = _contained(place, container)
    believed = not place.is_claimed or (container is not None and container.is_verified)
    beside: Keys = () if believed else (("unit", pattern_of(place.unit or "")),)
    if place.pod is not None and container is not None and container.pod is not None:
        found = _pod(container.pod, beside)
    elif contained is not None:
        found = LearnedWorkload(_RANKS[contained[0]], 0, (contained, *beside))
    elif place.unit is not None:
        found = _unit(place, place.unit, uid, user)
    else:
        parts = components(cgroup)
        is_inner = all(part.endswith(".slice") for part in parts)
        rank = _ONE_CGROUP if is_inner else _RANKS["cgroup"]
        found = LearnedWorkload(rank, len(parts), (("cgroup", pattern_of(cgroup)),), is_inner)
    return found if len(found.name) <= MAX_PATTERN else None


def pattern_of(name: str) -> str:
    """A glob that means this name: what a policy cannot spell is any character."""
    name = _SPECIAL.sub(lambda found: f"[{found[0]}]", name)
    return _UNSPEAKABLE.sub("?", name)


def family_of(workload: LearnedWorkload) -> str | None:
    """The glob over instances of a template, or over numbered replicas; None for anything else."""
    if workload.only or workload.key not in _FAMILIES:
        return None
    above, slash, last = workload.name.rpartition("/")
    for pattern in _FAMILIES[workload.key]:
        found = pattern.fullmatch(last)
        if found:
            return f"{above}{slash}{found[1]}*{found[2]}"
    return None


_TEMPLATE = re.compile(r"([^@/*]+@)[^@*]+(\.[a-z]+)")
_REPLICA_UNIT = re.compile(r"([^*]*[^*0-9][-_.])[0-9]+(\.[a-z]+)", re.ASCII)
_REPLICA = re.compile(r"([^*]*[^*0-9][-_.])[0-9]+()", re.ASCII)
_FAMILIES: Mapping[str, tuple[re.Pattern[str], ...]] = {
    "unit": (_TEMPLATE, _REPLICA_UNIT),
    "container": (_REPLICA,),
    "cgroup": (_TEMPLATE, _REPLICA_UNIT, _REPLICA),
}


def _pod(pod: KnownPod, beside: Keys) -> LearnedWorkload:
    """More labels come first: fewer of them may mean the same pod."""
    labels = [pair for pair in pod.labels if not _OF_ONE_POD.fullmatch(pair[0])]
    name = ("pod_labels", labels_text(labels)) if labels else ("pod_name", pod.name)
    keys = (name, ("pod_namespace", pod.namespace), *beside)
    return LearnedWorkload(_RANKS[name[0]], len(labels), keys)


def _contained(place: Place, container: KnownContainer | None) -> tuple[str, str] | None:
    if place.container is not None and container is not None:
        if container.name is not None:
            return "container", pattern_of(container.name).replace("/", "?")
        if container.images:
            return "image", re.sub(r"^/|\s", "?", pattern_of(container.images[0]))
    if place.pod is not None:
        return "pod", place.pod
    return ("container", place.container.id[:SHORT_ID]) if place.container else None


def _unit(place: Place, unit: str, uid: int | None, user: str | None) -> LearnedWorkload:
    if place.user_unit is not None:
        return _of_user(place, pattern_of(place.user_unit), uid, user)
    if _SESSION.fullmatch(unit):  # its number is never the same again
        return _of_user(place, "session-*.scope", uid, user)
    rank = _RANKS["unit"] if user_of_manager(unit) is None else _MANAGER
    return LearnedWorkload(rank, 0, (("unit", pattern_of(unit)),))


def _of_user(place: Place, unit: str, uid: int | None, user: str | None) -> LearnedWorkload:
    """By whose it runs as; where that is not known by whose slice it is in."""
    if uid is not None:
        account = uid if user is None else pattern_of(user)
        return LearnedWorkload(_USER_UNIT, 1, (("unit", unit), ("user", account)))
    return LearnedWorkload(
        _USER_UNIT, 0, (("unit", unit), ("slice", place.slices[-1] if place.slices else "*"))
    )
