"""An event as one line for people; for machines events are JSON."""

from __future__ import annotations

from typing import Any

from portwatch.cli.verdict_style import verdict_text


def event_line(event: dict[str, Any]) -> str:
    """Time, verdict, what was bound, by whom, and the constraint with its reason."""
    clock = str(event.get("time", ""))[11:19]
    kind = event["kind"]
    if kind == "violation":
        return f"{clock} {_violation(event)}"
    if kind == "listener":
        return f"{clock} listening: {_violation(event)}"
    if kind == "collision":
        return f"{clock} {_collision(event)}"
    if kind == "policy":
        return f"{clock} {_policy(event)}"
    if kind == "lost":
        return f"{clock} {event['count']} events did not fit and were only counted".lstrip()
    return f"{clock} {kind} {event}"


def _violation(event: dict[str, Any]) -> str:
    where, who = _endpoint(event["bind"]), _who(event)
    line = f"{verdict_text(event['verdict'])} {where} by {who}: {event['constraint']}"
    if "errno" in event:
        line += f" → {event['errno']}"
    if "reason" in event:
        line += f" ({event['reason']})"
    return line + _times(event)


def _collision(event: dict[str, Any]) -> str:
    what = "shared" if event.get("shared") else "taken"
    line = f"{what} {_endpoint(event['bind'])}: {_who(event)}"
    holder = event.get("holder")
    if holder is None:
        return f"{line} wanted it; whose it was is not known" + _times(event)
    wanted = "has it beside" if event.get("shared") else "wanted it of"
    return f"{line} {wanted} {_who(holder) or holder['state']}" + _times(event)


def _endpoint(bind: dict[str, Any]) -> str:
    if "address" not in bind:
        return f"{bind['protocol']} port {bind['port']}"
    address = bind["address"]
    shown = f"[{address}]" if ":" in address else address
    return f"{bind['protocol']} {shown}:{bind['port']}"


def _who(event: dict[str, Any]) -> str:
    """Process and workload, as far as they are known."""
    process = event.get("process")
    workload = event.get("workload", {}).get("name", "")
    if process is None:
        return str(workload)
    return f"{process['comm']}[{process['pid']}]" + (f" of {workload}" if workload else "")


def _times(event: dict[str, Any]) -> str:
    return f" ×{event['count']}" if event["count"] > 1 else ""


def _policy(event: dict[str, Any]) -> str:
    if event["result"] == "refused":
        return "policy refused, the last one stays in force:\n  " + "\n  ".join(event["errors"])
    return (
        f"policy {event['source']} in force: {event['constraints']} constraints, "
        f"mode {event['mode']}, generation {event['generation']}, sha256 {event['sha256'][:12]}"
    )
