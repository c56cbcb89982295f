"""An sk_lookup program, assembled by hand, that hands one port's traffic to a given socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from beside import R0, R1, R2, R3, R10, Instructions, instruction, let_go, load

from portwatch.kernel import libbpf

PROGRAM_SK_LOOKUP = 30
ATTACH_SK_LOOKUP = 36
MAP_SOCKMAP = 15
LOCAL_PORT = 60  # offset in struct bpf_sk_lookup
HELPER_MAP_LOOKUP, HELPER_SK_RELEASE, HELPER_SK_ASSIGN = 1, 86, 124
MAP_BY_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD
R6, R7 = 6, 7


def handing_over(port: int, sockets: int) -> Instructions:
    """What is sent to the port goes to the first socket of that map."""
    found = [
        instruction(0xBF, R7, R0),
        instruction(0xBF, R1, R6),
        instruction(0xBF, R2, R7),
        instruction(0xB7, R3),
        instruction(0x85, value=HELPER_SK_ASSIGN),
        instruction(0xBF, R1, R7),
        instruction(0x85, value=HELPER_SK_RELEASE),
    ]
    look_up = [
        instruction(0x62, R10, offset=-4),  # the key, 0
        instruction(0x18, R1, MAP_BY_DESCRIPTOR, value=sockets),
        bytes(8),
        instruction(0xBF, R2, R10),
        instruction(0x07, R2, value=-4),
        instruction(0x85, value=HELPER_MAP_LOOKUP),
        instruction(0x15, R0, offset=len(found)),  # none: let go
    ]
    return [
        instruction(0xBF, R6, R1),
        instruction(0x61, R2, R1, LOCAL_PORT),
        instruction(0x55, R2, offset=len(look_up) + len(found), value=port),
        *look_up,
        *found,
        *let_go(),
    ]


@contextmanager
def steered(pid: int, port: int, socket: int) -> Iterator[None]:
    """In the network of that process, the port's traffic goes to the socket (a descriptor)."""
    lib, key = libbpf.library(), bytes(4)
    sockets = libbpf.check(lib.bpf_map_create(MAP_SOCKMAP, b"steered", 4, 8, 1, None), "sockmap")
    value = socket.to_bytes(8, "little")
    libbpf.check(lib.bpf_map_update_elem(sockets, key, value, libbpf.UPDATE_ANY), "sockmap")
    program = load(PROGRAM_SK_LOOKUP, ATTACH_SK_LOOKUP, handing_over(port, sockets))
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    link = libbpf.check(lib.bpf_link_create(program, network, ATTACH_SK_LOOKUP, None), "sk_lookup")
    try:
        yield
    finally:
        for fd in (link, network, program, sockets):
            os.close(fd)
