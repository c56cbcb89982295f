"""Everything in a document that does not fit the schema: msgspec alone stops at the first.

A good document is only converted. One that fails is walked along the types that `schema`
gives to msgspec, every key and every item on its own; the walk knows no key by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import ValidationError, convert
from msgspec.inspect import (
    BoolType,
    DictType,
    IntType,
    ListType,
    LiteralType,
    Metadata,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

from portwatch.policy.source.document import Path
from portwatch.policy.source.schema import in_order

_KINDS: dict[type[Type], type | tuple[type, ...]] = {
    StructType: dict,
    DictType: dict,
    ListType: list,
    StrType: str,
    IntType: int,
    BoolType: bool,
    LiteralType: (str, int),  # a wrong word, of whatever kind, is answered with the right ones
}

Kind = Literal["unknown key", "missing", "type", "choice", "range", "empty", "long"]


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit, and where. `fitting`: the choices, the known keys, or the bounds."""

    kind: Kind
    path: Path
    value: object
    fitting: tuple[Any, ...] = ()


def misfits(data: Any, spec: Any) -> Iterator[Misfit]:
    """Yield everything in a document's plain data that does not fit the type `spec`.

    Nulls are passed over: nothing in the language is null, and `shape` says so of each.
    """
    try:
        convert(data, spec)
    except ValidationError:
        yield from _walk(type_info(spec), data, ())


def _walk(wanted: Type, value: Any, path: Path) -> Iterator[Misfit]:
    """Yield the misfits of `value`, and of all that is in it."""
    if value is None:
        return
    branch = _branch(wanted, value)
    if isinstance(branch, StructType):
        yield from _keys(branch, value, path)
    elif isinstance(branch, DictType):
        for key, item in value.items():
            yield from _walk(branch.value_type, item, (*path, key))
    elif isinstance(branch, ListType):
        if len(value) < (branch.min_length or 0):
            yield Misfit("empty", path, value)
        for number, item in enumerate(value):
            yield from _walk(branch.item_type, item, (*path, number))
    elif isinstance(branch, LiteralType):
        if (type(value), value) not in [(type(choice), choice) for choice in branch.values]:
            yield Misfit("choice", path, value, in_order(branch.values))
    elif isinstance(branch, StrType):
        if len(value) < (branch.min_length or 0):
            yield Misfit("empty", path, value)
        elif branch.max_length is not None and len(value) > branch.max_length:
            yield Misfit("long", path, value, (branch.max_length,))
    elif isinstance(branch, IntType):
        below = branch.ge is not None and value < branch.ge
        if below or (branch.le is not None and value > branch.le):
            yield Misfit("range", path, value, (branch.ge, branch.le))
    elif branch is None:
        yield Misfit("type", path, value)


def _keys(struct: StructType, value: dict[str, Any], path: Path) -> Iterator[Misfit]:
    known = {field.encode_name: field for field in struct.fields}
    for key, field in known.items():
        if key in value:
            yield from _walk(field.type, value[key], (*path, key))
        elif field.required:
            yield Misfit("missing", (*path, key), value)
    for key in value:
        if key not in known:
            yield Misfit("unknown key", (*path, key), value[key], tuple(known))


def _branch(wanted: Type, value: Any) -> Type | None:
    """Return the type, of a union the one, that a value of this kind is held against."""
    if isinstance(wanted, Metadata):
        return _branch(wanted.type, value)
    if isinstance(wanted, UnionType):
        branches = (_branch(branch, value) for branch in wanted.types)
        return next((branch for branch in branches if branch is not None), None)
    if isinstance(value, bool) and not isinstance(wanted, (BoolType, LiteralType)):
        return None
    return wanted if isinstance(value, _KINDS[type(wanted)]) else None
