"""Other BPF programs beside portwatch's, assembled by hand: they change a port or take one."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portwatch.kernel import libbpf
from portwatch.kernel.hooks import PROGRAM_CGROUP_SOCK_ADDR

ATTACH_INET4_CONNECT = 10
HELPER_BPF_BIND = 64
INSTRUCTION_BYTES = 8
HELPER_SET_RETVAL = 187

USER_IP4, USER_PORT = 4, 24  # offsets in struct bpf_sock_addr
R0, R1, R2, R3, R10 = 0, 1, 2, 3, 10

Instructions = list[bytes]


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn."""
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def let_go() -> Instructions:
    """`return 1`."""
    return [instruction(0xB7, R0, value=1), instruction(0x95)]


def rewriting(offset: int, value: int) -> Instructions:
    """A bind program that puts 32 bits into the context: *(u32 *)(r1 + offset) = value."""
    return [
        instruction(0xB7, R2, value=value),
        instruction(0x63, R1, R2, offset),
        *let_go(),
    ]


def rewriting_port(port: int) -> Instructions:
    """Whatever port is asked for becomes this one."""
    return rewriting(USER_PORT, socket.htons(port))


def rewriting_address(address: str) -> Instructions:
    """Whatever IPv4 address is asked for becomes this one."""
    return rewriting(USER_IP4, struct.unpack("=i", socket.inet_aton(address))[0])


def overruling() -> Instructions:
    """Whatever was refused before is let through: bpf_set_retval(0)."""
    return [instruction(0xB7, R1), instruction(0x85, value=HELPER_SET_RETVAL), *let_go()]


def taking_port(port: int) -> Instructions:
    """A connect program that calls bpf_bind() with INADDR_ANY and this port."""
    (family_and_port,) = struct.unpack(
        "=i", struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big")
    )
    return [
        instruction(0x18, R2, value=family_and_port),
        bytes(8),
        instruction(0x7B, R10, R2, -16),  # family, port and address 0
        instruction(0xB7, R2),
        instruction(0x7B, R10, R2, -8),
        instruction(0xBF, R2, R10),
        instruction(0x07, R2, value=-16),
        instruction(0xB7, R3, value=16),
        instruction(0x85, value=HELPER_BPF_BIND),
        *let_go(),
    ]


def load(program_type: int, attach_type: int, instructions: Instructions) -> int:
    """The program's descriptor, once the verifier has taken it."""
    options = libbpf.ProgramLoadOptions(
        sz=ctypes.sizeof(libbpf.ProgramLoadOptions), expected_attach_type=attach_type
    )
    code = b"".join(instructions)
    number, by_reference = len(code) // INSTRUCTION_BYTES, ctypes.byref(options)
    program = libbpf.library().bpf_prog_load(
        program_type, b"beside", b"GPL", code, number, by_reference
    )
    return libbpf.check(program, "a program beside portwatch's")


@contextmanager
def attached(cgroup: Path, attach_type: int, instructions: Instructions) -> Iterator[None]:
    """The program, behind what is attached to that cgroup already."""
    program = load(PROGRAM_CGROUP_SOCK_ADDR, attach_type, instructions)
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    link = libbpf.library().bpf_link_create(program, directory, attach_type, None)
    libbpf.check(link, str(cgroup))
    try:
        yield
    finally:
        for fd in (link, directory, program):
            os.close(fd)
