"""The named sockets of the process that binds, and how they come from and go to other processes.

Standard library only.
"""

from __future__ import annotations

import socket

import native_calls

sockets: dict[str, socket.socket] = {}


def pass_to(name: str, path: str) -> None:
    """Pass the socket on, by SCM_RIGHTS, to whoever receives at this path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(path)
        socket.send_fds(channel, [b"x"], [sockets[name].fileno()])


def open_channel(_name: str, path: str) -> None:
    """A place where sockets can be received."""
    sockets[path] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sockets[path].bind(path)


def receive(name: str, path: str) -> None:
    """Take over a socket that was passed on."""
    descriptors = socket.recv_fds(sockets.pop(path), 1, 1)[1]
    sockets[name] = socket.socket(fileno=descriptors[0])


def copy_from(name: str, pid: int, fd: int) -> None:
    """Take over a socket of another process, which need not know."""
    sockets[name] = socket.socket(fileno=native_calls.copy_descriptor(pid, fd))
