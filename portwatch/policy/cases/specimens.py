"""Subjects that a selector means: its globs filled in, each name where its like is found.

Pure: of accounts it knows that uid 0 is root, and of containers what the selector says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice, product

from portwatch.policy.words.containers import is_id_prefix, is_pod_uid
from portwatch.policy.words.globs import components, match_name
from portwatch.policy.words.labels import parse_selector, told_apart
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import (
    CONTAINED_KEYS,
    MAX_ID,
    POD_KEYS,
    KnownContainer,
    KnownPod,
    Selector,
    Subject,
)

MAX_SPECIMENS = 64
"""Of one selector: it may name many units, users and more, and any of each."""

NAMELESS_ID = MAX_ID
"""Stands for the id of an account that is known by its name alone."""

_FILLINGS = ("x", "1", "", "x.service", "x.slice")
_LETTERS = "x1a0-_.:@/bcdefghijklmnopqrstuvwyz23456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTAINER_ID = f"{1:064x}"
_POD_UID = "00000000-0000-4000-8000-000000000001"


def specimens(selector: Selector, host_network: bool) -> list[Subject]:
    """Return a subject for each combination of the selector's patterns, as far as there can be
    one and up to MAX_SPECIMENS; empty where nothing can be all that it asks for."""
    keys = selector.given_keys
    combinations = product(*(getattr(selector, key) for key in keys))
    found = (
        _subject(dict(zip(keys, patterns, strict=True)), host_network)
        for patterns in islice(combinations, MAX_SPECIMENS)
    )
    return list(dict.fromkeys(one for one in found if one and selector.matches(one)))


def filled(pattern: str, filling: str) -> str:
    """Return the pattern with `filling` for each run of `*` and a character for the rest; empty
    where a bracket means none."""
    text, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        end = pattern.find("]", at + 2 + (pattern[at + 1 : at + 2] in ("!", "^")))
        if letter == "*":
            text += "" if pattern[at - 1 : at] == "*" else filling
        elif letter == "?":
            text += "x"
        elif letter == "[" and end > 0:
            bracket = pattern[at : end + 1]
            fitting = next((c for c in _LETTERS + bracket if match_name(bracket, c)), None)
            if fitting is None:
                return ""
            text += fitting
            at = end
        else:
            text += letter
        at += 1
    return text


def _subject(patterns: dict[str, str | int], host_network: bool) -> Subject | None:
    texts = {key: str(pattern) for key, pattern in patterns.items()}
    cgroup = _cgroup(texts)
    if cgroup is None:
        return None
    uid, user = _account(patterns.get("user", "root"))
    gid, group = _account(patterns.get("group", "root"))
    container = _container(texts, place_of(cgroup).pod)
    return Subject(cgroup, uid, gid, user, group, host_network, container=container)


def _cgroup(texts: dict[str, str]) -> str | None:
    """Return a path that has what is asked for, each thing below the one that usually holds it."""
    parts = [filled(part, "x") for part in components(texts.get("cgroup", "")) if part != "**"]
    there = place_of("/" + "/".join(parts))
    if "slice" in texts and not _any(texts["slice"], there.slices):
        name = _valid(texts["slice"], lambda name: place_of(f"/{name}").slices == (name,))
        if name is None:
            return None
        parts += _slices(name)
    if "unit" in texts and not _any(texts["unit"], (there.unit,)):
        name = _valid(texts["unit"], lambda name: place_of(f"/{name}").unit == name)
        if name is None:
            return None
        parts += [*([] if parts else ["system.slice"]), name]
    if texts.keys() & set(POD_KEYS) and not _any(texts.get("pod", "*"), (there.pod,)):
        uid = _pod_uid(texts.get("pod", _POD_UID))
        if uid is None:
            return None
        parts += ["kubepods.slice", f"kubepods-pod{uid.replace('-', '_')}.slice"]
    if texts.keys() & set(CONTAINED_KEYS) and there.container is None:
        wanted = texts.get("container", "")
        number = wanted.ljust(64, "0") if is_id_prefix(wanted) else _CONTAINER_ID
        prefix = "cri-containerd" if texts.keys() & set(POD_KEYS) else "docker"
        parts += [*([] if parts else ["system.slice"]), f"{prefix}-{number}.scope"]
    return "/" + "/".join(parts)


def _container(texts: dict[str, str], uid: str | None) -> KnownContainer | None:
    if not texts.keys() & set(CONTAINED_KEYS):
        return None
    name = texts.get("container")
    images = (filled(texts["image"], "x"),) if "image" in texts else ()
    is_named = name is not None and not is_id_prefix(name)
    called = filled(name or "", "x") if is_named else None
    return KnownContainer(called, images, is_verified=True, pod=_pod(texts, uid))


def _pod(texts: dict[str, str], uid: str | None) -> KnownPod | None:
    """Return a pod that is as asked, and has no labels but those that are asked for."""
    if uid is None or texts.get("pod_known") == "false":
        return None
    selector = texts.get("pod_labels")
    labels: dict[str, str] = {}
    for key, values in told_apart((selector,) if selector else ()):
        wanted = [one for one in parse_selector(selector or "") if one.key == key]
        value = next((v for v in values if all(one.holds(v) for one in wanted)), None)
        if value is not None:
            labels[key] = value
    return KnownPod(
        uid,
        filled(texts.get("pod_namespace", "default"), "x"),
        filled(texts.get("pod_name", "x"), "x"),
        tuple(sorted(labels.items())),
        filled(texts.get("pod_account", "default"), "x"),
    )


def _account(pattern: str | int) -> tuple[int, str | None]:
    if pattern in (0, "root"):
        return 0, "root"
    if isinstance(pattern, int):
        return pattern, None
    return NAMELESS_ID, filled(pattern, "x")


def _slices(name: str) -> list[str]:
    """Return a slice with those that it lies in: `a-b.slice` lies in `a.slice`."""
    words = name.removesuffix(".slice").split("-")
    if "" in words:
        return [name]
    return ["-".join(words[: number + 1]) + ".slice" for number in range(len(words))]


def _pod_uid(pattern: str) -> str | None:
    """Return a uid of the usual form that a glob over uids means."""
    if is_pod_uid(pattern):
        return pattern
    head, _, tail = pattern.partition("*")
    uid = filled(head, "0") + _POD_UID[len(head) : len(_POD_UID) - len(tail)] + filled(tail, "0")
    candidates = (uid, filled(pattern, "0"))
    return next((one for one in candidates if is_pod_uid(one) and match_name(pattern, one)), None)


def _valid(pattern: str, is_valid: Callable[[str], bool]) -> str | None:
    """Return a name that the pattern means and that can be one."""
    names = (filled(pattern, filling) for filling in _FILLINGS)
    return next((name for name in names if match_name(pattern, name) and is_valid(name)), None)


def _any(pattern: str, names: Iterable[str | None]) -> bool:
    return any(name is not None and match_name(pattern, name) for name in names)
