"""The shape of a policy file, as models: what keys there are and what may stand under them.

The only importer of pydantic (docs/dependencies.md says why pydantic). Whether words mean
anything is not checked here but where they are resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from portwatch.policy.document import Path
from portwatch.policy.model import Default, Errno, Mode, NetworkScope, Otherwise

# Tags stand in pydantic's error paths; the brackets tell them from keys of the document.
_TEXT, _NUMBER, _MAPPING, _LIST = "<text>", "<number>", "<mapping>", "<list>"


def _kind(value: Any) -> str | None:
    """Return the tag of a value's kind: what picks the branch of a union."""
    if isinstance(value, bool):
        return None
    kinds = ((str, _TEXT), (int, _NUMBER), (dict, _MAPPING), (list, _LIST), (BaseModel, _MAPPING))
    return next((tag for kind, tag in kinds if isinstance(value, kind)), None)


_by_kind = Discriminator(_kind)

Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=1024)]
PortWord: TypeAlias = Annotated[
    Annotated[int, Tag(_NUMBER), Field(ge=1, le=65535)] | Annotated[Text, Tag(_TEXT)],
    _by_kind,
    Field(
        title="Port word",
        description="8080, 8000-8099, 8000-8099/tcp, all, privileged, ephemeral, a defined name, "
        "or catalog:NAME",
        examples=[8080, "8000-8099/tcp", "ephemeral", "catalog:etcd"],
    ),
]
AddressWord: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        title="Address word",
        description="A CIDR or address, loopback, wildcard, private, link-local, public, "
        "or a defined name",
        examples=["10.1.0.0/16", "loopback"],
    ),
]
Globs: TypeAlias = Annotated[
    Annotated[Text, Tag(_TEXT)] | Annotated[list[Text], Tag(_LIST), Field(min_length=1)],
    _by_kind,
]
AccountWord: TypeAlias = Annotated[
    Annotated[int, Tag(_NUMBER), Field(ge=0, le=0xFFFFFFFE)] | Annotated[Text, Tag(_TEXT)],
    _by_kind,
]
Accounts: TypeAlias = Annotated[
    Annotated[int, Tag(_NUMBER), Field(ge=0, le=0xFFFFFFFE)]
    | Annotated[Text, Tag(_TEXT)]
    | Annotated[list[AccountWord], Tag(_LIST), Field(min_length=1)],
    _by_kind,
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PodSpec(_Model):
    """A Kubernetes pod."""

    uid: Text | None = Field(None, description="The pod's uid")
    namespace: Text | None = Field(None, description="Glob over the namespace")
    name: Text | None = Field(None, description="Glob over the pod's name")
    labels: dict[str, str] | None = Field(None, description="Labels that all have to be there")
    service_account: Text | None = Field(
        None, alias="service-account", description="Glob over the service account"
    )


class SelectorSpec(_Model):
    """A workload: all keys given have to match, each by any of its values."""

    unit: Globs | None = Field(None, description="systemd unit, such as nginx.service or shop-*")
    slice: Globs | None = Field(None, description="systemd slice, anywhere on the cgroup's path")
    container: Globs | None = Field(None, description="Container name (cannot be resolved yet)")
    image: Globs | None = Field(None, description="Container image (cannot be resolved yet)")
    pod: (
        Annotated[Annotated[Text, Tag(_TEXT)] | Annotated[PodSpec, Tag(_MAPPING)], _by_kind] | None
    ) = Field(None, description="Kubernetes pod (cannot be resolved yet)")
    cgroup: Globs | None = Field(
        None,
        description="cgroup path from the root, /ci/**; whatever is nested below matches too",
    )
    user: Accounts | None = Field(None, description="User name, glob over names, or uid")
    group: Accounts | None = Field(None, description="Group name, glob over names, or gid")


_Who: TypeAlias = Annotated[
    Annotated[Text, Tag(_TEXT)] | Annotated[SelectorSpec, Tag(_MAPPING)], _by_kind
]
WorkloadSpec: TypeAlias = Annotated[
    Annotated[Text, Tag(_TEXT)]
    | Annotated[SelectorSpec, Tag(_MAPPING)]
    | Annotated[list[_Who], Tag(_LIST), Field(min_length=1)],
    _by_kind,
    Field(description="A defined workload, a selector, or a list of them (any of)"),
]
PortList: TypeAlias = list[PortWord]
AddressList: TypeAlias = Annotated[list[AddressWord], Field(min_length=1)]


class DefineSpec(_Model):
    """Names for reuse."""

    ports: dict[str, PortList] | None = Field(None, description="Port lists by name")
    addresses: dict[str, AddressList] | None = Field(None, description="Address lists by name")
    workloads: dict[str, WorkloadSpec] | None = Field(None, description="Workloads by name")


class ConstraintSpec(_Model):
    """One constraint, tried in order."""

    name: str = Field(
        description="Unique; what metrics and events call it",
        json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
    )
    for_: WorkloadSpec | None = Field(
        None, alias="for", description="The workloads it applies to; absent: every workload"
    )
    except_: WorkloadSpec | None = Field(
        None, alias="except", description="The workloads that it does not apply to"
    )
    network: NetworkScope | None = Field(
        None, description="host: only in the host's network namespace; any (the default)"
    )
    addresses: AddressList | None = Field(
        None, description="Narrows both lists to binds to these addresses"
    )
    deny: PortList | None = Field(None, description="Ports that it denies")
    allow: PortList | None = Field(None, description="Ports that it allows")
    otherwise: Otherwise | None = Field(
        None,
        description="For a bind in neither list; deny where there is an allow, else continue",
    )
    mode: Mode | None = Field(None, description="Overrides the file's mode")
    errno: Errno | None = Field(None, description="Overrides the file's errno")
    reason: Text | None = Field(None, description="Said in events and explanations")


class PolicySpec(_Model):
    """Which workload may bind which port."""

    model_config = ConfigDict(title="portwatch policy")

    version: Annotated[int, Field(ge=1, le=1)] | None = Field(
        None, description="The version of the language: 1"
    )
    mode: Mode | None = Field(
        None, description="enforce: deny violations; record (the default): let through and record"
    )
    default: Default | None = Field(
        None, description="For a bind that no constraint decides; allow where absent"
    )
    errno: Errno | None = Field(None, description="What a denied bind() returns; EACCES if absent")
    reason: Text | None = Field(None, description="The reason of constraints without their own")
    define: DefineSpec | None = Field(None, description="Names for reuse")
    constraints: list[ConstraintSpec] | None = Field(None, description="Tried in order")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy file."""
    schema = PolicySpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_null(schema)}


def _without_null(node: Any) -> Any:
    """Drop what pydantic says of None: a key may be absent, but never without a value."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {k: _without_null(v) for k, v in node.items() if (k, v) != ("default", None)}
    branches = node.get("anyOf")
    if isinstance(branches, list) and {"type": "null"} in branches:
        rest = [branch for branch in branches if branch != {"type": "null"}]
        if len(rest) == 1:
            del node["anyOf"]
            return {**rest[0], **node}
        node["anyOf"] = rest
    return node


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit the models: pydantic's `kind` of error and its `context`, the value."""

    kind: str
    path: Path
    value: object
    context: Mapping[str, Any]


def misfits(data: Any) -> Iterator[Misfit]:
    """Yield everything in a document's plain data that is of the wrong shape."""
    try:
        PolicySpec.model_validate(data)
    except ValidationError as err:
        for error in err.errors(include_url=False):
            path = tuple(step for step in error["loc"] if not _is_tag(step))
            yield Misfit(error["type"], path, error["input"], error.get("ctx", {}))


def known_keys(path: Path) -> list[str]:
    """Return the keys of the mapping at `path`."""
    model: type[BaseModel] = SelectorSpec
    if not path:
        model = PolicySpec
    elif path == ("define",):
        model = DefineSpec
    elif len(path) == 2 and path[0] == "constraints":
        model = ConstraintSpec
    elif path[-1] == "pod" and path != ("define", "workloads", "pod"):
        model = PodSpec
    return [info.alias or name for name, info in model.model_fields.items()]


def _is_tag(step: str | int) -> bool:
    return step in (_TEXT, _NUMBER, _MAPPING, _LIST)
