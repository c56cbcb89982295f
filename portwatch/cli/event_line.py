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
    if kind == "policy":
        return f"{clock} {_policy(event)}"
    if kind == "lost":
        return f"{clock} {event['count']} events did not fit and were only counted".lstrip()
    return f"{clock} {kind} {event}"


def _violation(event: dict[str, Any]) -> str:
    bind = event["bind"]
    where = f"{bind['protocol']} port {bind['port']}"
    if "address" in bind:
        address = bind["address"]
        shown = f"[{address}]" if ":" in address else address
        where = f"{bind['protocol']} {shown}:{bind['port']}"
    process = event.get("process", {})
    who = f" {process['comm']}[{process['pid']}]" if process else ""
    workload = event["workload"].get("name", "")
    line = f"{verdict_text(event['verdict'])} {where} by{who} of {workload}: {event['constraint']}"
    if "errno" in event:
        line += f" → {event['errno']}"
    if "reason" in event:
        line += f" ({event['reason']})"
    return line + (f" ×{event['count']}" if event["count"] > 1 else "")


def _policy(event: dict[str, Any]) -> str:
    if event["result"] == "refused":
        return "policy refused, the last one stays in force:\n  " + "\n  ".join(event["errors"])
    return (
        f"policy {event['source']} in force: {event['constraints']} constraints, "
        f"mode {event['mode']}, generation {event['generation']}, sha256 {event['sha256'][:12]}"
    )
