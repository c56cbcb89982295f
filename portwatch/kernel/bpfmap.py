"""One BPF map: keys and values as bytes, many at a time where the kernel can.

Must not know what any map means; `maps` does.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator

from portwatch.kernel import libbpf

BATCH = 1024
ENOTSUPP = 524  # the kernel's own, which libc does not name: no batch operation on this type
NO_BATCH = (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP)


class BpfMap:
    """A map by its descriptor, which it owns. Errors are OSError; a missing key is None."""

    def __init__(self, fd: int, name: str) -> None:
        info = libbpf.object_info(fd, libbpf.MapInfo())
        self.fd = fd
        self.name = name
        self.id: int = info.id
        self.type: int = info.type
        self.key_size: int = info.key_size
        self.max_entries: int = info.max_entries
        self.flags: int = info.map_flags
        per_cpu = self.type == libbpf.MAP_PERCPU_ARRAY
        self.value_size = _round8(info.value_size) * possible_cpus() if per_cpu else info.value_size

    def close(self) -> None:
        """Give the descriptor back; what is pinned stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def get(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value under `key`, for a per-CPU map those of all CPUs in a row."""
        value = ctypes.create_string_buffer(self.value_size)
        result = libbpf.library().bpf_map_lookup_elem_flags(self.fd, key, value, flags)
        if result == -errno.ENOENT:
            return None
        libbpf.check(result, self.name)
        return value.raw

    def put(self, key: bytes, value: bytes, flags: int = libbpf.UPDATE_ANY) -> None:
        """Set one value; with UPDATE_NOEXIST an OSError(EEXIST) where there is one."""
        libbpf.check(libbpf.library().bpf_map_update_elem(self.fd, key, value, flags), self.name)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False where it was not there."""
        result = libbpf.library().bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        libbpf.check(result, self.name)
        return True

    def put_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many; on an error (ENOSPC, E2BIG) those before it are set."""
        every = list(pairs)
        for start in range(0, len(every), BATCH):
            chunk = every[start : start + BATCH]
            if not self._batched(chunk):
                for key, value in chunk:
                    self.put(key, value)

    def delete_all(self, keys: Iterable[bytes]) -> None:
        """Remove many; missing ones do not matter."""
        for key in keys:
            self.delete(key)

    def keys(self) -> Iterator[bytes]:
        """Every key, one call each; sees those that stay, may miss those that come or go."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_size)
        while True:
            result = libbpf.library().bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return
            libbpf.check(result, self.name)
            key = following.raw
            yield key

    def items(self, flags: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, some at a time: a large map never is in memory as a whole.
        `flags`: LOOKUP_LOCKED for values with a spin lock."""
        try:
            yield from self._items_batched(flags)
        except OSError as err:
            if err.errno not in NO_BATCH:
                raise
            for key in self.keys():
                value = self.get(key, flags)
                if value is not None:
                    yield key, value

    def _batched(self, chunk: list[tuple[bytes, bytes]]) -> bool:
        count = ctypes.c_uint32(len(chunk))
        result = libbpf.library().bpf_map_update_batch(
            self.fd,
            b"".join(key for key, _ in chunk),
            b"".join(value for _, value in chunk),
            ctypes.byref(count),
            None,
        )
        if -result in NO_BATCH:
            return False
        libbpf.check(result, self.name)
        return True

    def _items_batched(self, flags: int) -> Iterator[tuple[bytes, bytes]]:
        # A bucket is never split over two batches, so the room grows where one does not fit.
        room = min(self.max_entries, BATCH)
        cursor: ctypes.Array[ctypes.c_char] | None = None
        options = BatchOptions(sz=ctypes.sizeof(BatchOptions), elem_flags=flags)
        while True:
            keys = ctypes.create_string_buffer(self.key_size * room)
            values = ctypes.create_string_buffer(self.value_size * room)
            following = ctypes.create_string_buffer(max(self.key_size, 4))
            count = ctypes.c_uint32(room)
            result = libbpf.library().bpf_map_lookup_batch(
                self.fd,
                cursor,
                following,
                keys,
                values,
                ctypes.byref(count),
                ctypes.byref(options),
            )
            if result == -errno.ENOSPC:
                room *= 2
                continue
            if result not in (0, -errno.ENOENT):
                libbpf.check(result, self.name)
            yield from self._split(keys.raw, values.raw, count.value)
            if result == -errno.ENOENT:
                return
            cursor = following

    def _split(self, keys: bytes, values: bytes, count: int) -> Iterator[tuple[bytes, bytes]]:
        for index in range(count):
            key = keys[index * self.key_size : (index + 1) * self.key_size]
            yield key, values[index * self.value_size : (index + 1) * self.value_size]


class BatchOptions(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


def possible_cpus() -> int:
    """How many values a per-CPU map hands out: /sys/devices/system/cpu/possible."""
    with open("/sys/devices/system/cpu/possible") as file:
        last = file.read().strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


def _round8(size: int) -> int:
    return (size + 7) // 8 * 8
