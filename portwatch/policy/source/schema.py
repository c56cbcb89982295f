"""The shape of a policy file, as types: what keys there are and what may stand under them.

The only description of the language's shape: `misfits` checks documents against it, editors
get it as JSON Schema. Whether words mean anything is checked where they are resolved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec.json
from msgspec import UNSET, Meta, Struct, UnsetType, field

from portwatch.policy.model import Acceptable, Default, Errno, Mode, NetworkScope, Otherwise
from portwatch.policy.words.labels import Operator

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
PortWord: TypeAlias = Annotated[
    Annotated[int, Meta(ge=1, le=65535)] | Text,
    Meta(
        title="Port word",
        description="8080, 8000-8099, 8000-8099/tcp, all, privileged, ephemeral, declared, a "
        "defined name, or catalog:NAME",
        examples=[8080, "8000-8099/tcp", "ephemeral", "catalog:etcd"],
    ),
]
AddressWord: TypeAlias = Annotated[
    Text,
    Meta(
        title="Address word",
        description="A CIDR or address, loopback, wildcard, private, link-local, public, "
        "or a defined name",
        examples=["10.1.0.0/16", "loopback"],
    ),
]
AccountWord: TypeAlias = Annotated[int, Meta(ge=0, le=0xFFFFFFFE)] | Text
Globs: TypeAlias = Text | Annotated[list[Text], Meta(min_length=1)]
Accounts: TypeAlias = AccountWord | Annotated[list[AccountWord], Meta(min_length=1)]


class ExpressionSpec(Struct, forbid_unknown_fields=True):
    """One of a Kubernetes selector's matchExpressions."""

    key: Annotated[Text, Meta(description="The label's key")]
    operator: Annotated[Operator, Meta(description="How its value is held against `values`")]
    values: Annotated[list[str] | UnsetType, Meta(description="For In and NotIn")] = UNSET


class PodSpec(Struct, forbid_unknown_fields=True, rename="camel"):
    """Kubernetes pods: all that is given has to match."""

    uid: Annotated[Globs | UnsetType, Meta(description="The pod's uid")] = UNSET
    namespace: Annotated[Globs | UnsetType, Meta(description="Glob over the namespace")] = UNSET
    name: Annotated[Globs | UnsetType, Meta(description="Glob over the pod's name")] = UNSET
    labels: Annotated[
        Text | dict[str, str | list[str]] | UnsetType,
        Meta(
            description="Labels that all have to be there, {app: api, tier: [web, api]}, or a "
            "selector as `kubectl get -l` takes it",
            examples=["app=api,tier in (web,api),!legacy"],
        ),
    ] = UNSET
    match_labels: Annotated[
        dict[str, str] | UnsetType,
        Meta(description="As in a Kubernetes podSelector"),
    ] = UNSET
    match_expressions: Annotated[
        Annotated[list[ExpressionSpec], Meta(min_length=1)] | UnsetType,
        Meta(description="As in a Kubernetes podSelector"),
    ] = UNSET
    service_account: Annotated[
        Globs | UnsetType, Meta(description="Glob over the service account")
    ] = UNSET
    known: Annotated[
        bool | UnsetType,
        Meta(description="false: pods that the API server has not told of yet; true: all others"),
    ] = UNSET


class SelectorSpec(Struct, forbid_unknown_fields=True):
    """A workload: all keys given have to match, each by any of its values."""

    unit: Annotated[
        Globs | UnsetType, Meta(description="systemd unit, such as nginx.service or shop-*")
    ] = UNSET
    slice: Annotated[
        Globs | UnsetType, Meta(description="systemd slice, anywhere on the cgroup's path")
    ] = UNSET
    container: Annotated[
        Globs | UnsetType, Meta(description="Container name, or 12 or more digits of its id")
    ] = UNSET
    image: Annotated[
        Globs | UnsetType,
        Meta(description="Container image: nginx means any tag of it, nginx:1.25 that one"),
    ] = UNSET
    pod: Annotated[
        Globs | PodSpec | UnsetType,
        Meta(description="Kubernetes pods by name, labels and more, or by uid or cgroup path"),
    ] = UNSET
    cgroup: Annotated[
        Globs | UnsetType,
        Meta(description="cgroup path from the root, /ci/**; whatever is nested below matches too"),
    ] = UNSET
    user: Annotated[
        Accounts | UnsetType, Meta(description="User name, glob over names, or uid")
    ] = UNSET
    group: Annotated[
        Accounts | UnsetType, Meta(description="Group name, glob over names, or gid")
    ] = UNSET


WorkloadSpec: TypeAlias = Annotated[
    Text | SelectorSpec | Annotated[list[Text | SelectorSpec], Meta(min_length=1)],
    Meta(description="A defined workload, a selector, or a list of them (any of)"),
]
PortList: TypeAlias = list[PortWord]
AddressList: TypeAlias = Annotated[list[AddressWord], Meta(min_length=1)]


class DefineSpec(Struct, forbid_unknown_fields=True):
    """Names for reuse."""

    ports: Annotated[dict[str, PortList] | UnsetType, Meta(description="Port lists by name")] = (
        UNSET
    )
    addresses: Annotated[
        dict[str, AddressList] | UnsetType, Meta(description="Address lists by name")
    ] = UNSET
    workloads: Annotated[
        dict[str, WorkloadSpec] | UnsetType, Meta(description="Workloads by name")
    ] = UNSET


class ConstraintSpec(Struct, forbid_unknown_fields=True):
    """One constraint, tried in order."""

    name: Annotated[
        str,
        Meta(
            description="Unique; what metrics and events call it",
            # For editors alone: load.py checks names, and says what a name is.
            extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
        ),
    ]
    for_: Annotated[
        WorkloadSpec | UnsetType,
        Meta(description="The workloads it applies to; absent: every workload"),
    ] = field(default=UNSET, name="for")
    except_: Annotated[
        WorkloadSpec | UnsetType, Meta(description="The workloads that it does not apply to")
    ] = field(default=UNSET, name="except")
    network: Annotated[
        NetworkScope | UnsetType,
        Meta(description="host: only in the host's network namespace; any (the default)"),
    ] = UNSET
    addresses: Annotated[
        AddressList | UnsetType, Meta(description="Narrows both lists to binds to these addresses")
    ] = UNSET
    deny: Annotated[PortList | UnsetType, Meta(description="Ports that it denies")] = UNSET
    allow: Annotated[PortList | UnsetType, Meta(description="Ports that it allows")] = UNSET
    otherwise: Annotated[
        Otherwise | UnsetType,
        Meta(description="For a bind in neither list; deny where there is an allow, else continue"),
    ] = UNSET
    mode: Annotated[Mode | UnsetType, Meta(description="Overrides the file's mode")] = UNSET
    errno: Annotated[Errno | UnsetType, Meta(description="Overrides the file's errno")] = UNSET
    reason: Annotated[Text | UnsetType, Meta(description="Said in events and explanations")] = UNSET
    accept: Annotated[
        Annotated[list[Acceptable], Meta(min_length=1)] | UnsetType,
        Meta(description="Findings of `portwatch check` that are meant here; decides nothing"),
    ] = UNSET


class PodsSpec(Struct, forbid_unknown_fields=True):
    """What holds for Kubernetes pods as such."""

    unknown: Annotated[
        Default,
        Meta(
            description="deny: a pod of which nothing is known yet may not bind; allow: it may, "
            "whatever the constraints say; where absent, those that do not ask for it decide"
        ),
    ]


class PolicySpec(Struct, forbid_unknown_fields=True):
    """Which workload may bind which port."""

    version: Annotated[
        Literal[1] | UnsetType, Meta(description="The version of the language: 1")
    ] = UNSET
    mode: Annotated[
        Mode | UnsetType,
        Meta(description="enforce: deny violations; record (the default): let through and record"),
    ] = UNSET
    default: Annotated[
        Default | UnsetType,
        Meta(description="For a bind that no constraint decides; allow where absent"),
    ] = UNSET
    errno: Annotated[
        Errno | UnsetType, Meta(description="What a denied bind() returns; EACCES if absent")
    ] = UNSET
    reason: Annotated[
        Text | UnsetType, Meta(description="The reason of constraints without their own")
    ] = UNSET
    pods: Annotated[PodsSpec | UnsetType, Meta(description="Pods that are not known yet")] = UNSET
    define: Annotated[DefineSpec | UnsetType, Meta(description="Names for reuse")] = UNSET
    constraints: Annotated[list[ConstraintSpec] | UnsetType, Meta(description="Tried in order")] = (
        UNSET
    )


_ENUMERATIONS = [
    get_args(kind) for kind in (Mode, Default, Errno, Otherwise, NetworkScope, Acceptable, Operator)
]


def in_order(words: Iterable[Any]) -> tuple[Any, ...]:
    """Return the words of an enumeration as the language names them: msgspec sorts them."""
    known = tuple(words)
    return next((named for named in _ENUMERATIONS if set(named) == set(known)), known)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy file."""
    template = "#/$defs/{name}"
    _, found = msgspec.json.schema_components([PolicySpec], ref_template=template)
    parts = {name: _typed(part) for name, part in found.items()}
    for name, part in parts.items():
        part["title"] = name.removesuffix("Spec").lower()
    root = parts.pop(PolicySpec.__name__)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **root, "title": "portwatch policy", "$defs": parts}


def _typed(node: Any) -> Any:
    """Give enumerations their order, and their type, which msgspec leaves out."""
    if isinstance(node, list):
        return [_typed(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _typed(value) for key, value in node.items()}
    if "enum" in node:
        node["enum"] = list(in_order(node["enum"]))
        node["type"] = "string" if isinstance(node["enum"][0], str) else "integer"
    return node
