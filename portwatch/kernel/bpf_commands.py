"""A process gives up every bpf() command but those that read and write maps and pins.

No capability stands between a process and attaching a program that is pinned: the kernel asks for
one when a program is loaded, and not again. So this is a seccomp(2) filter, for the rest of the
process's life and for all of its children.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

from portwatch.kernel import libbpf

KEPT_COMMANDS = {
    "BPF_MAP_LOOKUP_ELEM": 1,
    "BPF_MAP_UPDATE_ELEM": 2,
    "BPF_MAP_DELETE_ELEM": 3,
    "BPF_MAP_GET_NEXT_KEY": 4,
    "BPF_OBJ_PIN": 6,  # what is attached already: the agent pins it anew on another bpffs
    "BPF_OBJ_GET": 7,
    "BPF_OBJ_GET_INFO_BY_FD": 15,
    "BPF_MAP_LOOKUP_BATCH": 24,
    "BPF_MAP_UPDATE_BATCH": 26,
    "BPF_MAP_DELETE_BATCH": 27,
}


# The number in linux/audit.h, and that of bpf(2)
MACHINES = {"x86_64": (0xC000003E, 321), "aarch64": (0xC00000B7, 280)}
X32_BIT = 0x40000000

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
RETURN_ALLOW = 0x7FFF0000
RETURN_EPERM = 0x00050000 | errno.EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16  # struct seccomp_data, little-endian


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def renounce_attaching() -> None:
    """From here on this thread, and what it starts, can neither load nor attach, detach or replace
    a program: EPERM. OSError where the kernel takes no filter."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "seccomp")
    written = _written(*machine)
    given = _Filter(len(written), written)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "seccomp")


def _written(audit_arch: int, bpf: int) -> ctypes.Array[_Instruction]:
    perf_event_open = libbpf.PERF_EVENT_OPEN[platform.machine()]
    kept = sorted(KEPT_COMMANDS.values())
    steps = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, audit_arch),
        (RETURN, 0, 0, RETURN_EPERM),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 1, 0, X32_BIT),
        (EQUAL, 0, 1, perf_event_open),
        (RETURN, 0, 0, RETURN_EPERM),
        (EQUAL, 1, 0, bpf),
        (RETURN, 0, 0, RETURN_ALLOW),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        *((EQUAL, len(kept) - place, 0, number) for place, number in enumerate(kept)),
        (RETURN, 0, 0, RETURN_EPERM),
        (RETURN, 0, 0, RETURN_ALLOW),
    ]
    return (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
