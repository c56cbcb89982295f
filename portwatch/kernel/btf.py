"""BTF, the kernel's type information: where a field lies, and the types of two maps of ours.

Format: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from portwatch.kernel import libbpf

KIND_INT = 1
KIND_STRUCT = 4
KIND_UNION = 5
KIND_FUNC = 12
COMPOSITE = (KIND_STRUCT, KIND_UNION)
INT_SIZE_32 = 32


@dataclass(frozen=True)
class Field:
    """Where a field lies: `offset` in bytes, and for a bitfield its `mask` in that byte."""

    offset: int
    mask: int = 0


class KernelTypes:
    """The running kernel's BTF. Offsets by `struct.field`; None where the kernel tells none."""

    def __init__(self) -> None:
        lib = libbpf.library()
        lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        lib.btf__type_by_id.restype = ctypes.c_void_p
        lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        lib.btf__name_by_offset.restype = ctypes.c_char_p
        lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
        lib.btf__resolve_type.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._lib = lib
        self._btf = lib.btf__load_vmlinux_btf()

    def field(self, container: str, path: str) -> Field | None:
        """Where `path` (a.b.c, through anonymous members too) lies in `struct container`."""
        if not self._btf:
            return None
        type_id: int = self._lib.btf__find_by_name_kind(self._btf, container.encode(), KIND_STRUCT)
        bits = 0
        width = 0
        for name in path.split("."):
            found = self._member(type_id, name)
            if found is None:
                return None
            type_id, offset, width = found
            bits += offset
        mask = ((1 << width) - 1) << (bits % 8) if width else 0
        return Field(bits // 8, mask)

    def function(self, name: str) -> int | None:
        """The BTF id of a kernel function; None where there is none of that name."""
        if not self._btf:
            return None
        found: int = self._lib.btf__find_by_name_kind(self._btf, name.encode(), KIND_FUNC)
        return found if found > 0 else None

    def _member(self, type_id: int, name: str) -> tuple[int, int, int] | None:
        for member, member_type, bits, width in self._members(type_id):
            if member == name:
                return member_type, bits, width
            if not member:
                inner = self._member(member_type, name)
                if inner is not None:
                    return inner[0], bits + inner[1], inner[2]
        return None

    def _members(self, type_id: int) -> Iterator[tuple[str, int, int, int]]:
        type_id = self._lib.btf__resolve_type(self._btf, type_id)  # through typedef and const
        address = self._lib.btf__type_by_id(self._btf, type_id) if type_id > 0 else None
        if not address:
            return
        _, info, _ = struct.unpack("=III", ctypes.string_at(address, 12))
        if (info >> 24) & 0x1F not in COMPOSITE:
            return
        packed = bool(info >> 31)  # kind_flag: the offset's top byte is a bitfield's width
        for index in range(info & 0xFFFF):
            raw = ctypes.string_at(address + 12 + 12 * index, 12)
            name_offset, member_type, offset = struct.unpack("=III", raw)
            name = self._lib.btf__name_by_offset(self._btf, name_offset) or b""
            bits, width = (offset & 0xFFFFFF, offset >> 24) if packed else (offset, 0)
            yield name.decode(), member_type, bits, width


@dataclass(frozen=True)
class MapTypes:
    """BTF of one map's key and value, loaded; close `fd` after the map is made."""

    fd: int
    key: int
    value: int


def load_socket_mark_types() -> MapTypes:
    """int → struct mark, as bpf_sk_storage demands; the kernel asks for no more than its size."""
    return _load(
        [
            ("int", KIND_INT, 4, INT_SIZE_32, []),
            ("mark", KIND_STRUCT, 8, None, [("rest", 1, 32)]),
        ],
        key=1,
        value=2,
    )


def load_violation_types(key_size: int, value_size: int, lock_offset: int) -> MapTypes:
    """The key as bytes; the value with its struct bpf_spin_lock, which the verifier looks for.

    All in bytes. Only the lock is described: the kernel asks for no more.
    """
    return _load(
        [
            ("int", KIND_INT, 4, INT_SIZE_32, []),
            ("bpf_spin_lock", KIND_STRUCT, 4, None, [("val", 1, 0)]),
            ("violation", KIND_STRUCT, value_size, None, [("lock", 2, lock_offset * 8)]),
            ("violation_key", KIND_STRUCT, key_size, None, [("constraint", 1, 0)]),
        ],
        key=4,
        value=3,
    )


Description = tuple[str, int, int, int | None, list[tuple[str, int, int]]]


def _load(types: list[Description], key: int, value: int) -> MapTypes:
    strings = bytearray(b"\0")

    def name(text: str) -> int:
        offset = len(strings)
        strings.extend(text.encode() + b"\0")
        return offset

    body = b""
    for title, kind, size, encoding, members in types:
        body += struct.pack("=III", name(title), kind << 24 | len(members), size)
        if encoding is not None:
            body += struct.pack("=I", encoding)
        for member, member_type, bits in members:
            body += struct.pack("=III", name(member), member_type, bits)
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    blob = header + body + bytes(strings)
    fd = libbpf.check(libbpf.library().bpf_btf_load(blob, len(blob), None), "BTF of a map")
    return MapTypes(fd, key, value)


def close(types: MapTypes) -> None:
    """The map keeps its own reference."""
    os.close(types.fd)
