"""The shape of a file of cases, as types: the unit tests of a policy."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from portwatch.policy.model import Errno
from portwatch.policy.source.schema import PortWord, Text, WorkloadSpec

BindSpec: TypeAlias = Annotated[
    PortWord | Annotated[list[PortWord], Meta(min_length=1)],
    Meta(description="What is bound: 8080/tcp, 9000-9099/udp, ephemeral, catalog:NAME, or a list"),
]


class DefaultsSpec(Struct, forbid_unknown_fields=True):
    """What cases have that do not say otherwise."""

    workload: Annotated[
        WorkloadSpec | UnsetType,
        Meta(description="Who binds: a workload that the policy defines, a selector, or a list"),
    ] = UNSET
    bind: BindSpec | UnsetType = UNSET
    address: Annotated[
        Text | UnsetType,
        Meta(description="0.0.0.0 where absent; `::` is dual-stack, `::/v6only` is not"),
    ] = UNSET
    network: Annotated[
        Literal["host", "other"] | UnsetType,
        Meta(description="The host's network namespace (the default), or another"),
    ] = UNSET
    picked: Annotated[bool | UnsetType, Meta(description="The kernel picked the port")] = UNSET
    listening: Annotated[
        bool | UnsetType, Meta(description="The kernel picked the port, and the socket listens")
    ] = UNSET
    declared: Annotated[
        bool | UnsetType, Meta(description="The pod that binds declares the port")
    ] = UNSET
    expect: Annotated[
        Literal["allowed", "denied", "recorded"] | UnsetType, Meta(description="The verdict")
    ] = UNSET
    constraint: Annotated[
        Text | UnsetType, Meta(description="The constraint that gives it; `default` may, too")
    ] = UNSET
    errno: Annotated[Errno | UnsetType, Meta(description="What a denied bind() returns")] = UNSET


class CaseSpec(DefaultsSpec, forbid_unknown_fields=True):
    """One case: a bind, and what is expected of it."""

    name: Annotated[Text | UnsetType, Meta(description="What reports call it")] = UNSET


class CasesSpec(Struct, forbid_unknown_fields=True):
    """The tests of a policy."""

    cases: Annotated[list[CaseSpec], Meta(min_length=1)]
    defaults: DefaultsSpec | UnsetType = UNSET
