"""The shape of a catalog file, as types: a mapping of names to sets of ports."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from portwatch.policy.source.schema import PortWord, Text


class CatalogSetSpec(Struct, forbid_unknown_fields=True):
    """A named set of ports; it needs `ports` or `includes`."""

    description: Annotated[Text | UnsetType, Meta(description="What listens there")] = UNSET
    source: Annotated[
        Text | UnsetType, Meta(description="The document that says so, by its title")
    ] = UNSET
    ports: Annotated[
        Annotated[list[PortWord], Meta(min_length=1)] | UnsetType,
        Meta(description="Ports and ranges, such as 2379-2380/tcp"),
    ] = UNSET
    includes: Annotated[
        Annotated[list[Text], Meta(min_length=1)] | UnsetType,
        Meta(description="Other sets, whose ports are in this one too"),
    ] = UNSET
    extends: Annotated[
        bool | UnsetType,
        Meta(description="Whether it adds to the set of its name, rather than replaces it"),
    ] = UNSET


CatalogSpec: TypeAlias = dict[str, CatalogSetSpec]
