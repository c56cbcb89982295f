"""What /proc tells of a process that bound a port, never of another with its recycled pid."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from portwatch.node.paths import HostPaths

CMDLINE_BYTES = 1024
REMEMBERED = 256
START_FIELD = 22  # starttime in clock ticks since boot: proc_pid_stat(5)
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Sighting(NamedTuple):
    """A process as the kernel recorded it at `time_ns`; times are boot time in ns.

    `started_ns` is 0, and `cmdline`, the first bytes of its arguments, empty where not known.
    """

    pid: int
    comm: str
    time_ns: int
    started_ns: int = 0
    cmdline: bytes = b""


@dataclass(frozen=True)
class ProcessFacts:
    """What is known; None where it was too late, or where there is none."""

    exe: str | None = None
    cmdline: str | None = None


class ProcessTable:
    """Facts by process, remembered by all that the kernel recorded of it.

    What /proc has under a pid is believed where that process started in the very clock tick that
    the kernel recorded; where none is recorded, before the event. A pid is not given back to the
    process that had it, so whoever has it after all was read has had it all the time.
    """

    def __init__(self, host: HostPaths) -> None:
        self._host = host
        self._offset_ns = boot_offset_ns(host)
        self._known: OrderedDict[tuple[int, int, str, bytes], ProcessFacts] = OrderedDict()

    def describe(self, seen: Sighting) -> ProcessFacts:
        """Facts of the process that was seen, dead or alive by now."""
        started = seen.started_ns or self._started_before(seen)
        if not started:
            return ProcessFacts(cmdline=_printable(seen.cmdline))
        key = (seen.pid, started, seen.comm, seen.cmdline)  # an exec() shows in the last two
        facts = self._known.get(key)
        if facts is None:
            facts = self._known[key] = self._read(seen, started)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return facts

    def _started_before(self, seen: Sighting) -> int:
        """When the process that has the pid now started; 0 where that was after the sighting."""
        started = started_ns(self._host.process(seen.pid))
        if started is None or started - self._offset_ns > seen.time_ns:
            return 0
        return started - self._offset_ns

    def _read(self, seen: Sighting, started: int) -> ProcessFacts:
        directory = self._host.process(seen.pid)
        exe, cmdline = process_exe(directory), _raw_cmdline(directory)
        if not cmdline.startswith(seen.cmdline):  # other arguments by now: another program too?
            cmdline = seen.cmdline
            if process_comm(directory) != seen.comm:
                exe = None
        if started_ns(directory) not in (_as_shown(started), _as_shown(started + self._offset_ns)):
            return ProcessFacts(cmdline=_printable(seen.cmdline))
        return ProcessFacts(exe, _printable(cmdline))


def _as_shown(boot_ns: int) -> int:
    """As nsec_to_clock_t() rounds it."""
    return boot_ns // TICK_NS * TICK_NS


def boot_offset_ns(host: HostPaths) -> int:
    """What this time namespace adds to boot time, before 5.11 not to the start of processes."""
    try:
        lines = (host.proc / "self" / "timens_offsets").read_text().splitlines()
    except OSError:
        return 0
    offsets = {clock: (seconds, rest) for clock, seconds, rest in map(str.split, lines)}
    seconds, rest = offsets["boottime"]
    return int(seconds) * 1_000_000_000 + int(rest)


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
    """Its arguments joined by spaces, at most CMDLINE_BYTES, any bytes made printable; None where
    it is gone or has none."""
    return _printable(_raw_cmdline(directory))


def _raw_cmdline(directory: Path) -> bytes:
    try:
        with open(directory / "cmdline", "rb") as file:
            return file.read(CMDLINE_BYTES)
    except OSError:
        return b""


def _printable(arguments: bytes) -> str | None:
    text = arguments.rstrip(b"\0").replace(b"\0", b" ")
    return text.decode("utf-8", "backslashreplace") or None


def real_ids(host: HostPaths, pid: int) -> tuple[int, int] | None:
    """The real uid and gid, which decide (bpf_get_current_uid_gid()); None where it is gone."""
    fields = _status(host, pid)
    if not fields:
        return None
    return int(fields[b"Uid"].split()[0]), int(fields[b"Gid"].split()[0])


def namespace_pid(host: HostPaths, pid: int) -> int | None:
    """What getpid() says to it, in its own pid namespace; None where that cannot be told."""
    numbers = _status(host, pid).get(b"NSpid", b"").split()
    return int(numbers[-1]) if numbers else None


def _status(host: HostPaths, pid: int) -> dict[bytes, bytes]:
    """Empty where it is gone."""
    try:
        status = (host.process(pid) / "status").read_bytes()  # its name may be any bytes
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)


def process_ids(host: HostPaths) -> list[int]:
    """The processes that /proc shows now, in ascending order."""
    return sorted(int(name) for name in os.listdir(host.proc) if name.isdecimal())
