"""Where the web server listens: addresses by number or name, and sockets that systemd passes."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence

from portwatch.errors import UsageError

DEFAULT_LISTEN = "127.0.0.1:9477"
BACKLOG = 128
FIRST_PASSED_FD = 3  # sd_listen_fds(3)


def parse_listen(listen: str) -> tuple[str, int]:
    """`ADDR:PORT`, `[ADDR]:PORT` or `:PORT`; UsageError for anything else."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    if not colon or not is_port:
        raise UsageError(f"{listen!r} is not ADDR:PORT", hint=f"for example {DEFAULT_LISTEN}")
    return host, int(port)


def open_addresses(listens: Sequence[str]) -> list[socket.socket]:
    """One listening socket each, in order; UsageError, with all closed again, where one fails."""
    opened: list[socket.socket] = []
    try:
        for listen in listens:
            opened.append(_open(listen))
    except UsageError:
        for one in opened:
            one.close()
        raise
    return opened


def _open(listen: str) -> socket.socket:
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as err:  # UnicodeError: no host name by IDNA's rules
        listener.close()
        reason = getattr(err, "strerror", None) or err
        raise UsageError(
            f"cannot serve on {listen}: {reason}",
            hint="choose another address with --listen",
        ) from err
    return listener


def passed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd has passed, taken from `environ` so that no child
    believes them its own; UsageError where there is none, or one does not listen."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    few = count.isascii() and count.isdecimal() and 0 < int(count[:4]) <= 64
    if pid != str(os.getpid()) or not few:
        raise UsageError(
            "systemd has passed no sockets to this process",
            hint="start it by a .socket unit, or leave out --web.systemd-socket",
        )
    numbers = range(FIRST_PASSED_FD, FIRST_PASSED_FD + int(count))
    return [_passed(number) for number in numbers]


def _passed(number: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=number)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as err:
        raise UsageError(f"file descriptor {number} from systemd: {err.strerror}") from err
    if not listens or listener.type != socket.SOCK_STREAM:
        raise UsageError(
            f"file descriptor {number} from systemd is no listening stream socket",
            hint="the .socket unit needs ListenStream= and Accept=no",
        )
    os.set_inheritable(number, False)
    return listener


def url_of(listener: socket.socket, scheme: str) -> str:
    """Where a browser finds it, with the port that it got; no `/` at the end."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"{scheme}+unix://{os.fsdecode(name)}"
    host, port = name[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
