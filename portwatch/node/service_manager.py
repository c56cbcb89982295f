"""What the agent tells systemd, by sd_notify(3): one datagram to the socket that it names.

The protocol is stable and is these few lines; the libraries for it (sdnotify, systemd-python) are
unmaintained, or bring libsystemd into the agent's memory.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

WATCHDOG_SHARE = 4
"""Four times in the time after which systemd takes the agent for dead."""


class ServiceManager:
    """Says nothing where systemd did not start us. A datagram that does not fit its buffer is
    dropped: nothing here ever waits."""

    def __init__(self) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        microseconds = int(os.environ.get("WATCHDOG_USEC") or 0)
        meant_for = os.environ.get("WATCHDOG_PID") or str(os.getpid())
        is_ours = meant_for == str(os.getpid())
        self._period = microseconds / 1e6 / WATCHDOG_SHARE if is_ours else 0.0
        self._next_sign = 0.0

    def ready(self, status: str) -> None:
        """All is up, or up again after `reloading()`; `systemctl status` shows the line."""
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """What `systemctl status` shows."""
        self._tell(f"STATUS={status}")

    def reloading(self) -> None:
        """Between this and `ready()` the unit is shown as reloading."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def alive(self, now: float) -> None:
        """The loop has turned; `now` is monotonic, in seconds."""
        if self._period and now >= self._next_sign:
            self._next_sign = now + self._period
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.setblocking(False)
            channel.sendto(text.encode(), self._address)
