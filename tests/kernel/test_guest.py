"""A guest is what it has to be: its kernel calls LSM programs, and bcc makes them."""

from __future__ import annotations

import socket

import pytest

from portwatch.kernel import layout

BACKLOG = 77
PROGRAM = b"""
#include <uapi/linux/ptrace.h>
LSM_PROBE(socket_listen, void *sock, int backlog)
{
    return backlog == 77 ? -1 : 0;
}
"""


@pytest.mark.guest
def test_an_lsm_program_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded, it refuses the listen() that it is about and no other; unloaded, none."""
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(layout.bpf_directory()))
    from bcc import BPF

    program = BPF(text=PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen(BACKLOG + 1)
        with pytest.raises(PermissionError):
            listener.listen(BACKLOG)
        program.cleanup()
        listener.listen(BACKLOG)
