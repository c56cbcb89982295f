"""libbpf.so.1 by ctypes: the few calls that portwatch makes, with errno turned into OSError.

The agent lives on this alone; bcc, which brings LLVM, never enters its process.
Source of the prototypes: libbpf 1.1's bpf/bpf.h, libbpf.h and btf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import TypeVar

from portwatch.errors import KernelError

MAP_HASH = 1
MAP_ARRAY = 2
MAP_PERCPU_ARRAY = 6
MAP_LRU_HASH = 9
MAP_LPM_TRIE = 11
MAP_ARRAY_OF_MAPS = 12
MAP_SK_STORAGE = 24
MAP_RINGBUF = 27

F_NO_PREALLOC = 1 << 0
F_MMAPABLE = 1 << 10

UPDATE_ANY = 0
UPDATE_NOEXIST = 1
LOOKUP_LOCKED = 4  # BPF_F_LOCK: copy the value under its spin lock


class MapCreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class ProgramLoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class MapInfo(ctypes.Structure):
    """struct bpf_map_info, as far as it is compared."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * 16),
    )


class ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info, all of it up to the run counters."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
    )


class LinkInfo(ctypes.Structure):
    """struct bpf_link_info for a cgroup link; a raw tracepoint's ends at prog_id."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("pad", c_uint32),
        ("cgroup_id", c_uint64),
        ("attach_type", c_uint32),
        ("pad2", c_uint32),
        ("rest", ctypes.c_uint8 * 32),
    )


PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
PERF_TYPE_TRACEPOINT = 2
PERF_FLAG_FD_CLOEXEC = 8
INSTRUCTION_BYTES = 8


class PerfEventAttributes(ctypes.Structure):
    """struct perf_event_attr, its first version."""

    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("rest", c_uint64 * 6),
    )


@cache
def library() -> ctypes.CDLL:
    """libbpf.so.1; KernelError where the machine does not have it."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as err:
        raise KernelError("libbpf.so.1 is missing", hint="apt-get install libbpf1") from err
    lib.bpf_map_create.argtypes = [c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p]
    lib.bpf_prog_load.argtypes = [c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p]
    lib.bpf_link_create.argtypes = [c_int, c_int, c_int, c_void_p]
    lib.bpf_link_update.argtypes = [c_int, c_int, c_void_p]
    lib.bpf_obj_pin.argtypes = [c_int, c_char_p]
    lib.bpf_obj_get.argtypes = [c_char_p]
    lib.bpf_obj_get_info_by_fd.argtypes = [c_int, c_void_p, c_void_p]
    lib.bpf_raw_tracepoint_open.argtypes = [c_char_p, c_int]
    lib.bpf_map_lookup_elem_flags.argtypes = [c_int, c_void_p, c_void_p, c_uint64]
    lib.bpf_map_update_elem.argtypes = [c_int, c_void_p, c_void_p, c_uint64]
    lib.bpf_map_delete_elem.argtypes = [c_int, c_void_p]
    lib.bpf_map_get_next_key.argtypes = [c_int, c_void_p, c_void_p]
    lib.bpf_map_lookup_batch.argtypes = [c_int, *[c_void_p] * 6]
    lib.bpf_map_update_batch.argtypes = [c_int, c_void_p, c_void_p, c_void_p, c_void_p]
    lib.bpf_map_delete_batch.argtypes = [c_int, c_void_p, c_void_p, c_void_p]
    lib.ring_buffer__new.restype = c_void_p
    lib.ring_buffer__new.argtypes = [c_int, c_void_p, c_void_p, c_void_p]
    lib.ring_buffer__consume.argtypes = [c_void_p]
    lib.ring_buffer__epoll_fd.argtypes = [c_void_p]
    lib.ring_buffer__free.argtypes = [c_void_p]
    lib.ring_buffer__free.restype = None
    lib.bpf_btf_load.argtypes = [c_void_p, c_size_t, c_void_p]
    return lib


def check(result: int, what: str) -> int:
    """`result` where it is no error; else OSError with libbpf's errno and `what`."""
    if result < 0:
        number = -result if result != -1 else ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


LOG_BYTES = 1 << 20
LOG_LINES = 5


def load_program(
    name: str, instructions: bytes, program_type: int, attach_type: int = 0, target: int = 0
) -> int:
    """Have the verifier take a program: its descriptor. OSError with the end of its log.

    `target` is the BTF id of the kernel function that it is for; 0 where it is for none.
    """
    log = ctypes.create_string_buffer(LOG_BYTES)
    options = ProgramLoadOptions(
        sz=ctypes.sizeof(ProgramLoadOptions),
        expected_attach_type=attach_type,
        attach_btf_id=target,
        log_size=LOG_BYTES,
        log_buf=ctypes.addressof(log),
    )
    count = len(instructions) // INSTRUCTION_BYTES
    fd: int = library().bpf_prog_load(
        program_type, name.encode()[:15], b"GPL", instructions, count, ctypes.byref(options)
    )
    said = " / ".join(log.value.decode("utf-8", "replace").strip().splitlines()[-LOG_LINES:])
    return check(fd, f"program {name}: {said}" if said else f"program {name}")


def perf_event_of_tracepoint(number: int) -> int:
    """A perf event on a tracepoint, for a program to be attached to: its descriptor.

    perf_event_open(2) has no wrapper in libc; a program runs on every CPU whatever the event's.
    """
    call = PERF_EVENT_OPEN.get(platform.machine())
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "perf_event_open")
    attributes = PerfEventAttributes(
        type=PERF_TYPE_TRACEPOINT, size=ctypes.sizeof(PerfEventAttributes), config=number
    )
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (call, ctypes.byref(attributes), -1, 0, -1, ctypes.c_ulong(PERF_FLAG_FD_CLOEXEC))
    return check(libc.syscall(*arguments), "perf_event_open")


def object_get(path: str) -> int:
    """Descriptor of what is pinned at `path`."""
    return check(library().bpf_obj_get(os.fsencode(path)), path)


def object_pin(fd: int, path: str) -> None:
    """Pin `fd`, readable and writable by its owner alone."""
    check(library().bpf_obj_pin(fd, os.fsencode(path)), path)
    os.chmod(path, 0o600)


Info = TypeVar("Info", MapInfo, ProgramInfo, LinkInfo)


def object_info(fd: int, info: Info) -> Info:
    """Fill `info` with what the kernel says of a map, program or link."""
    size = c_uint32(ctypes.sizeof(info))
    check(
        library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)),
        type(info).__name__,
    )
    return info
