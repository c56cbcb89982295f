"""Events to systemd's journal, with fields that `journalctl` can match.

The native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) is one datagram an entry.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portwatch.agent.events.outlet import Outlet
from portwatch.errors import UsageError

SOCKET = Path("/run/systemd/journal/socket")
MAX_FIELD_BYTES = 16384  # far below a datagram's bound, so that no entry needs a memory file

BUFFER_BYTES = 3 << 20  # about 5,000 entries: more than the ring buffer can hold at once

MESSAGE_IDS = {
    "violation": "21c410e114bb4b3099cd5e8faf89d7ee",
    "listener": "1955d111adf9416cb5cadc4ed0c387b4",
    "collision": "d4d7342018b04bb9a735c198860c1e53",
    "bind": "d6bf00208b7a4920ac3503dbd0401542",
    "hook": "94173b24a472477291f3fcac8145c342",
    "policy": "b29677da251b44af9b37def9d633308b",
    "lost": "fb075ad6fe25460e81244cb28a1ad52e",
}
"""Never to be changed: catalogs and people's filters know them."""

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
_PRIORITIES = {
    **{"denied": WARNING, "recorded": NOTICE},
    **{"loaded": INFO, "refused": ERROR, "gone": ERROR, "restored": NOTICE},
}
_PRIORITIES_OF_KINDS = {"collision": WARNING, "lost": WARNING}

_TOP = (
    *("kind", "verdict", "constraint", "reason", "errno", "hook", "result", "sha256", "mode"),
    "count",
)
_OF_BIND = ("protocol", "port", "address", "family", "network")


def is_journal(fd: int, journal_stream: str) -> bool:
    """Whether a descriptor is the journal's, by what systemd says in $JOURNAL_STREAM."""
    try:
        opened = os.fstat(fd)
    except OSError:
        return False
    return journal_stream == f"{opened.st_dev}:{opened.st_ino}"


def journal_fields(event: dict[str, Any], message: str) -> Iterator[tuple[str, str]]:
    """The fields of one event's entry; the journal itself adds more about OBJECT_PID."""
    kind = event["kind"]
    weight = _PRIORITIES.get(event.get("verdict", event.get("result", "")))
    yield "MESSAGE", message
    yield "MESSAGE_ID", MESSAGE_IDS[kind]
    yield "PRIORITY", str(weight or _PRIORITIES_OF_KINDS.get(kind, INFO))
    yield "SYSLOG_IDENTIFIER", "portwatch"
    for name in _TOP:
        if name in event:
            yield f"PORTWATCH_{name.upper()}", str(event[name])
    bind = event.get("bind", {})
    for name in _OF_BIND:
        if name in bind:
            yield f"PORTWATCH_{name.upper()}", str(bind[name])
    if "workload" in event:
        yield "PORTWATCH_WORKLOAD", str(event["workload"]["name"])
    if "workload" in event.get("holder", {}):
        yield "PORTWATCH_HOLDER", str(event["holder"]["workload"]["name"])
    if "process" in event:
        yield "OBJECT_PID", str(event["process"]["pid"])


def encode_entry(fields: Iterator[tuple[str, str]]) -> bytes:
    """One datagram; a value of several lines goes with its length."""
    entry = bytearray()
    for name, text in fields:
        value = text.encode("utf-8", "backslashreplace")[:MAX_FIELD_BYTES]
        if b"\n" in value:
            entry += b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
        else:
            entry += b"%s=%s\n" % (name.encode(), value)
    return bytes(entry)


class JournalEvents:
    """Sends from a thread of its own: a journal that stands still holds up nothing. `message`
    makes an event one line for people."""

    def __init__(self, message: Callable[[dict[str, Any]], str], path: Path = SOCKET) -> None:
        self._message = message
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(self._path)
        except OSError as err:
            self._socket.close()
            raise UsageError(
                f"cannot write events to the journal at {path}: {err.strerror}",
                hint="choose another --events: a file, or `-` for stdout",
            ) from err
        self.outlet = Outlet(self._send, self._lost, BUFFER_BYTES)

    def write(self, event: dict[str, Any], _line: bytes) -> None:
        """Send one event soon."""
        self.outlet.write(self._entry(event))

    def _lost(self, count: int) -> bytes:
        return self._entry({"kind": "lost", "count": count})

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()

    def _entry(self, event: dict[str, Any]) -> bytes:
        return encode_entry(journal_fields(event, self._message(event)))

    def _send(self, entry: bytes) -> bool:
        """False where the journal is away; it may be back for the next."""
        try:
            self._socket.send(entry)
        except OSError:
            try:
                self._socket.connect(self._path)
                self._socket.send(entry)
            except OSError:
                return False
        return True
