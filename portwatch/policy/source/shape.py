"""Shape errors in the policy's own words: unknown keys, wrong types, misspelt enumerations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from portwatch.policy.source.document import Document, Path
from portwatch.policy.source.misfits import Misfit, misfits
from portwatch.policy.source.problems import Problems, quote
from portwatch.policy.source.schema import PolicySpec

ShapeError = tuple[Path, str, bool]
"""Where, what is wrong, and whether the key (not its value) is meant."""

_PORTS = "a list of ports, such as [8080, 9000-9099/tcp]"
_NAMES = "a name, or a list of names"
_WORKLOAD = "a defined workload, a selector such as {unit: nginx.service}, or a list of them"
_EXPECTED = {
    "version": "1",
    "define": "a mapping of ports, addresses and workloads",
    "constraints": "a list of constraints",
    "deny": _PORTS,
    "allow": _PORTS,
    "addresses": "a list of addresses, such as [loopback, 10.0.0.0/8]",
    "for": _WORKLOAD,
    "except": _WORKLOAD,
    "user": "a name or uid, or a list of them",
    "group": "a name or gid, or a list of them",
    "pod": "a uid, or a mapping such as {namespace: shop, labels: {app: api}}",
    "pods": "a mapping, such as {unknown: deny}",
    "known": "true or false",
    "matchExpressions": "a list, such as [{key: app, operator: In, values: [api]}]",
    "accept": "a list of findings, such as [shared-ports]",
    **dict.fromkeys(("labels", "matchLabels"), "labels, such as {app: api}"),
    "ports": _PORTS,
    "includes": "a list of names of sets",
    "extends": "true or false",
    "cases": "a list of cases",
    "defaults": "a mapping",
    "workload": _WORKLOAD,
    "bind": "a port such as 8080/tcp, or a list of them",
    **dict.fromkeys(("picked", "listening"), "true or false"),
    **dict.fromkeys(("http2", "prefer_server_cipher_suites"), "true or false"),
    **dict.fromkeys(("tls_server_config", "http_server_config", "headers"), "a mapping"),
    "basic_auth_users": "a mapping of user names to bcrypt hashes",
    **dict.fromkeys(("cipher_suites", "curve_preferences", "client_allowed_sans"), "a list"),
    **dict.fromkeys(("unit", "slice", "container", "image", "cgroup"), _NAMES),
}
_ITEM_EXPECTED = {
    "deny": "a port",
    "allow": "a port",
    "ports": "a port",
    "addresses": "an address",
    "bind": "a port",
    "cases": "a case",
    "accept": "a finding",
    "includes": "the name of a set",
    "constraints": "a constraint",
    "user": "a name or uid",
    "group": "a name or gid",
    "for": "a workload name or selector",
    "workload": "a workload name or selector",
    "except": "a workload name or selector",
    "workloads": "a workload name or selector",
}
_DEFINED = {"ports": _PORTS, "addresses": _EXPECTED["addresses"], "workloads": _WORKLOAD}


def shape_errors(
    document: Document, problems: Problems, spec: Any = PolicySpec
) -> Iterator[ShapeError]:
    """Yield everything in a document that is of the wrong shape, and what has no value."""
    if document.nulls:
        yield from _nulls(document.data, ())
    for misfit in misfits(document.data, spec):
        yield _explain(misfit, problems)


def report_shape(document: Document, problems: Problems, spec: Any = PolicySpec) -> list[Path]:
    """Record each shape error at its place; the paths of what is wrong."""
    bad = []
    for path, message, about_key in shape_errors(document, problems, spec):
        problems.add(document.name, document.place(path, key=about_key), message)
        bad.append(path)
    return bad


def _nulls(data: Any, path: Path) -> Iterator[ShapeError]:
    """Yield what has no value: nothing in the language is null."""
    if isinstance(data, (dict, list)):
        for step, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _nulls(value, (*path, step))
    elif data is None and isinstance(path[-1], str):
        yield path, f"{quote(path[-1])} has no value", True
    elif data is None:
        yield path, "an item of the list is empty", False


def _explain(misfit: Misfit, problems: Problems) -> ShapeError:
    """Turn one misfit into a path, a message and whether it is about the key."""
    kind, path, value = misfit.kind, misfit.path, misfit.value
    key = str(path[-1]) if path else ""
    if kind == "unknown key":
        meant = problems.did_you_mean(key, misfit.fitting)
        meant = meant or f"; known here: {', '.join(misfit.fitting)}"
        return path, f"unknown key {quote(key)}{meant}", True
    if kind == "missing":
        return path[:-1], f"{quote(key)} is missing", False
    if kind == "choice" and key != "version":
        meant = problems.did_you_mean(str(value), misfit.fitting)
        meant = meant or f"; it is {_any_of(misfit.fitting)}"
        what = f"unknown {key} {quote(value)}"
        if path == ("pods", "unknown"):
            what = f"{quote(value)} is nothing that can be said of unknown pods"
        if "accept" in path:
            what = f"{quote(value)} is no finding that can be accepted"
        return path, f"{what}{meant}", False
    if kind == "empty":
        return path, f"{_name(path)} is empty", False
    if kind == "long":
        return path, f"longer than {misfit.fitting[0]} characters", False
    if kind == "range":
        return path, _out_of_range(path, value), False
    return path, f"{_name(path)} must be {_expected(path)}, not {quote(value)}", False


def _name(path: Path) -> str:
    if not path:
        return "the policy"
    if isinstance(path[-1], int):
        return "an item of " + _name(path[:-1])
    return quote(path[-1])


def _expected(path: Path) -> str:
    """Return what should stand at `path`, as a noun phrase."""
    if not path:
        return "a mapping"
    key, above = path[-1], path[-2] if len(path) > 1 else ""
    if path[0] == "define" and len(path) == 2:
        return "a mapping of names"
    if path[0] == "define" and len(path) == 3:
        return _DEFINED.get(str(above), "something else")
    if above in ("labels", "matchLabels"):
        return "text: put it in quotes"
    if isinstance(key, int):
        named = path[1] if path[0] == "define" and len(path) == 4 else above
        return _ITEM_EXPECTED.get(str(named), "text")
    return _EXPECTED.get(key, "text")


def _out_of_range(path: Path, value: Any) -> str:
    if "user" in path or "group" in path:
        return f"id {quote(value)} is not between 0 and 4294967294"
    if value == 0:
        return "port 0 asks the kernel to pick one: use `ephemeral`"
    return f"port {quote(value)[1:-1]} is not between 1 and 65535"


def _any_of(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]
