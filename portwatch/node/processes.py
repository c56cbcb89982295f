"""What /proc tells of a process that bound a port, never of another with its recycled pid."""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from portwatch.node.paths import HostPaths

CMDLINE_BYTES = 1024
REMEMBERED = 256
START_FIELD = 22  # starttime in clock ticks since boot: proc_pid_stat(5)
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessFacts:
    """What could be read; None where it was too late."""

    exe: str | None = None
    cmdline: str | None = None


UNKNOWN = ProcessFacts()


class ProcessTable:
    """Facts by pid, each remembered while a pidfd shows that the process still lives.

    A pid cannot be given again while its process lives, so a remembered one that still lives is
    the same. One that is read anew must have started before the event that names it.
    """

    def __init__(self, host: HostPaths) -> None:
        self._host = host
        self._known: OrderedDict[tuple[int, str], tuple[int, ProcessFacts]] = OrderedDict()

    def describe(self, pid: int, comm: str, event_time_ns: int) -> ProcessFacts:
        """Facts of the process that was `pid`, named `comm`, at that boot time in ns."""
        key = (pid, comm)  # an exec() changes the name as a rule, and then all is read again
        known = self._known.get(key)
        if known is not None:
            if _lives(known[0]):
                return known[1]
            self._forget(key)
        return self._read(key, event_time_ns)

    def close(self) -> None:
        """Give all descriptors back."""
        while self._known:
            self._forget(next(iter(self._known)))

    def _read(self, key: tuple[int, str], event_time_ns: int) -> ProcessFacts:
        pid = key[0]
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return UNKNOWN
        directory = self._host.process(pid)
        facts = ProcessFacts(process_exe(directory), process_cmdline(directory))
        started = started_ns(directory)
        # Read in between: the pidfd was open before and lives after, so all three are one process.
        if started is None or started > event_time_ns or not _lives(pidfd):
            os.close(pidfd)
            return UNKNOWN
        self._known[key] = (pidfd, facts)
        if len(self._known) > REMEMBERED:
            self._forget(next(iter(self._known)))
        return facts

    def _forget(self, key: tuple[int, str]) -> None:
        os.close(self._known.pop(key)[0])


def _lives(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_ns(directory: Path) -> int | None:
    """When the process at /proc/PID started, in ns since boot; None where it is gone."""
    try:
        stat = (directory / "stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[START_FIELD - 3]) * TICK_NS


def process_comm(directory: Path) -> str | None:
    """Its name, any bytes made printable; None where it is gone."""
    try:
        raw = (directory / "comm").read_bytes()
    except OSError:
        return None
    return raw.rstrip(b"\n").decode("utf-8", "backslashreplace")


def process_exe(directory: Path) -> str | None:
    """The path of its program; None where it has none or it may not be read."""
    try:
        return (
            os.readlink(directory / "exe")
            .encode("utf-8", "surrogateescape")
            .decode("utf-8", "backslashreplace")
        )
    except OSError:
        return None


def process_cmdline(directory: Path) -> str | None:
    """Its arguments joined by spaces, at most CMDLINE_BYTES, any bytes made printable."""
    try:
        with open(directory / "cmdline", "rb") as file:
            raw = file.read(CMDLINE_BYTES)
    except OSError:
        return None
    if not raw:
        return None
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace")


def real_ids(host: HostPaths, pid: int) -> tuple[int, int] | None:
    """The real uid and gid, which decide (bpf_get_current_uid_gid()); None where it is gone."""
    try:
        status = (host.process(pid) / "status").read_bytes()  # its name may be any bytes
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    return int(fields[b"Uid"].split()[0]), int(fields[b"Gid"].split()[0])


def process_ids(host: HostPaths) -> list[int]:
    """The processes that /proc shows now, in ascending order."""
    return sorted(int(name) for name in os.listdir(host.proc) if name.isdecimal())
