"""A bind as an event of the agent's tells it (CONTRACT §4): enough to judge it by any policy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from portwatch.policy.decide import Endpoint
from portwatch.policy.pod import DeclaredPort, KnownPod
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.words.places import place_of
from portwatch.policy.words.ports import PROTOCOLS, judged_as
from portwatch.policy.workload import MAX_ID, KnownContainer

KINDS = ("bind", "violation")
VERDICTS = ("allowed", "denied", "recorded")
NOBODY = MAX_ID + 1
"""The id where an event tells none."""


class BadEvent(ValueError):
    """Not an event of portwatch's; the message says what is missing or wrong."""


class RecordedBind(NamedTuple):
    """Binds alike: by whom, of what, and what came of it then.

    `cgroup` and `endpoint` are None in the tail of a burst, which tells only the workload's name,
    protocol and port, and stands for binds that were told of before.
    """

    time: str
    workload: str
    cgroup: str | None
    container: KnownContainer | None
    uid: int
    gid: int
    host_network: bool
    protocol: str
    port: int
    endpoint: Endpoint | None
    verdict: str
    constraint: str | None
    program: str
    times: int

    @property
    def tail_key(self) -> tuple[str, str, int, str, str | None]:
        """What the tail of a burst has in common with its beginning."""
        return self.workload, self.protocol, self.port, self.verdict, self.constraint


def read_bind(event: Any) -> RecordedBind | None:
    """Read one event; None where it is not about a bind that was judged. Raises BadEvent."""
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        raise BadEvent("it has no `kind`")
    if event["kind"] not in KINDS:
        return None
    bind, workload = _mapping(event, "bind"), _mapping(event, "workload")
    process = event.get("process")
    process = process if isinstance(process, dict) else {}
    protocol = judged_as(_text(bind, "protocol") or "")
    if protocol not in PROTOCOLS:
        raise BadEvent("its protocol is unknown")
    verdict = event.get("verdict")
    if verdict not in VERDICTS:
        raise BadEvent("its verdict is unknown")
    port = _number(bind, "port", 65535)
    cgroup = _text(workload, "cgroup")
    if cgroup is not None and not cgroup.startswith("/"):
        raise BadEvent("its cgroup is no path")
    return RecordedBind(
        _text(event, "time") or "",
        _text(workload, "name") or "",
        cgroup,
        _container(workload, cgroup, _declared(bind, protocol, port)),
        _number(process, "uid", NOBODY, NOBODY),
        _number(process, "gid", NOBODY, NOBODY),
        bind.get("network", "host") == "host",
        protocol,
        port,
        _endpoint(bind, protocol, port, verdict),
        verdict,
        _text(event, "constraint"),
        _text(process, "exe") or _text(process, "comm") or "",
        max(_number(event, "count", 1 << 62, 1), 1),
    )


def _endpoint(bind: Mapping[str, Any], protocol: str, port: int, verdict: str) -> Endpoint | None:
    """A picked TCP port that was recorded was found at listen(): it is judged as one that does."""
    text = _text(bind, "address")
    if text is None:
        return None
    address = _address(text)
    if address.value == 0 and not bind.get("v6only"):
        address = DUAL
    picked = port != 0 and _number(bind, "requested_port", 65535, port) == 0
    listening = picked and protocol == "tcp" and verdict == "recorded"
    return Endpoint(protocol, port, address, picked, listening)


@lru_cache(4096)
def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as err:
        raise BadEvent("its address is none") from err


def _declared(bind: Mapping[str, Any], protocol: str, port: int) -> tuple[DeclaredPort, ...]:
    """Of what the pod declared the event tells as much as concerns this bind."""
    return (DeclaredPort(protocol, port),) if bind.get("declared") is True else ()


def _container(
    workload: Mapping[str, Any], cgroup: str | None, declared: tuple[DeclaredPort, ...]
) -> KnownContainer | None:
    """What its engine said (`claimed`: that this was no proof), and what was known of its pod."""
    if cgroup is None:
        return None
    pod = _pod(workload.get("pod"), declared)
    told = workload.get("container")
    told = told if isinstance(told, dict) else {}
    name = _text(told, "name")
    images = tuple(filter(None, (_text(told, "image"), _text(told, "image_id"))))
    if name is None and not images:
        return KnownContainer(pod=pod) if pod else None
    is_verified = place_of(cgroup).is_claimed and not told.get("claimed")
    return KnownContainer(name, images, is_verified, pod)


def _pod(told: object, declared: tuple[DeclaredPort, ...]) -> KnownPod | None:
    """What the API server said: its account, too, which an engine does not tell."""
    if not isinstance(told, dict):
        return None
    uid, account = _text(told, "uid"), _text(told, "service_account")
    namespace, name = _text(told, "namespace"), _text(told, "name")
    labels = told.get("labels", {})
    if not (uid and account and namespace and name and isinstance(labels, dict)):
        return None
    pairs = sorted((str(key), str(value)) for key, value in labels.items())
    return KnownPod(uid, namespace, name, tuple(pairs), account, declared_ports=declared)


def _mapping(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = event.get(key)
    if not isinstance(value, dict):
        raise BadEvent(f"it has no `{key}`")
    return value


def _text(facts: Mapping[str, Any], key: str) -> str | None:
    value = facts.get(key)
    return value if isinstance(value, str) and value else None


def _number(facts: Mapping[str, Any], key: str, last: int, absent: int | None = None) -> int:
    value = facts.get(key, absent)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= last:
        raise BadEvent(f"its `{key}` is no number from 0 to {last}")
    return value
