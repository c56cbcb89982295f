"""The `process` part of an event (CONTRACT §4): who binds, and who has a port."""

from __future__ import annotations

from typing import Any

from portwatch.kernel import layout
from portwatch.node.processes import ProcessFacts, ProcessTable, Sighting
from portwatch.node.socket_holders import Holder


def binding_process(raw: layout.Event, processes: ProcessTable) -> dict[str, Any]:
    """Who made the bind that the kernel recorded, asking /proc while it may still be there."""
    comm = raw.comm.decode("utf-8", "backslashreplace")
    cmdline = bytes(raw.cmdline)[: raw.cmdline_bytes]
    facts = processes.describe(Sighting(raw.pid, comm, raw.time_ns, raw.started_ns, cmdline))
    return _parts(raw.pid, raw.namespace_pid, comm, facts, raw.uid, raw.gid)


def holding_process(holder: Holder) -> dict[str, Any]:
    """Who has a socket open."""
    facts = ProcessFacts(holder.exe, holder.cmdline)
    inside = holder.namespace_pid
    return _parts(holder.pid, inside, holder.comm, facts, holder.uid, holder.gid)


def _parts(
    pid: int, inside: int | None, comm: str, facts: ProcessFacts, uid: int, gid: int
) -> dict[str, Any]:
    """`inside`: the pid in its own pid namespace, 0 or None where not known."""
    process: dict[str, Any] = {"pid": pid, "comm": comm}
    if facts.exe is not None:
        process["exe"] = facts.exe
    if facts.cmdline is not None:
        process["cmdline"] = facts.cmdline
    process |= {"uid": uid, "gid": gid}
    if inside and inside != pid:
        process["container_pid"] = inside
    return process
