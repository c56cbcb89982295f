"""The calls of native_calls.c, made by this very process; OSError where they fail."""

from __future__ import annotations

import ctypes
import os

BACKLOG = 64
IOSQE_ASYNC = 16
IORING_SETUP_SQPOLL = 2
RINGS = {
    "io_uring": (0, 0),
    "io_uring worker": (IOSQE_ASYNC, 0),
    "sqpoll": (0, IORING_SETUP_SQPOLL),
}
ENTRIES_32 = {"int80": 0, "socketcall": 1}

CALLS = (
    "ring_bind",
    "ring_bind_as_before",
    "ring_listen",
    "bind32",
    "listen32",
    "clone_into",
    "copy_descriptor",
    "race_to_dual_stack",
)

_libraries: list[ctypes.CDLL] = []


def load(path: str) -> int:
    """Load the shared library; before any other call."""
    library = ctypes.CDLL(path)
    for name in CALLS:
        getattr(library, name).restype = ctypes.c_long
    _libraries.append(library)
    return 0


def bind(fd: int, address: bytes, via: str) -> None:
    """bind() by way of a ring or of the 32-bit entry."""
    if via in RINGS:
        _check(_libraries[0].ring_bind(fd, address, len(address), *RINGS[via]))
    else:
        _check(_libraries[0].bind32(fd, address, len(address), ENTRIES_32[via]))


def bind_as_before(fd: int, address: bytes, user: int) -> None:
    """Become that user for good, then bind() as who this was, by a personality of a ring's."""
    _check(_libraries[0].ring_bind_as_before(fd, address, len(address), user))


def listen(fd: int, via: str) -> None:
    """listen() likewise."""
    if via in RINGS:
        _check(_libraries[0].ring_listen(fd, BACKLOG, *RINGS[via]))
    else:
        _check(_libraries[0].listen32(fd, BACKLOG, ENTRIES_32[via]))


def race_to_dual_stack(port: int, rounds: int) -> int:
    """How many v6-only UDP sockets are dual-stack after bind() to `::`, a second thread helping."""
    return int(_libraries[0].race_to_dual_stack(port, rounds))


def clone_into(cgroup: int) -> int:
    """fork(), right into the cgroup of this descriptor."""
    return _check(_libraries[0].clone_into(cgroup))


def copy_descriptor(pid: int, fd: int) -> int:
    """Another process's descriptor, as one of this process's own."""
    return _check(_libraries[0].copy_descriptor(pid, fd))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
