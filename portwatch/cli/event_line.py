"""An event as one line for people; for machines events are JSON."""

from __future__ import annotations

from typing import Any

import click

from portwatch.cli.verdict_style import verdict_text


def event_line(event: dict[str, Any]) -> str:
    """Time, verdict, what was bound, by whom, and the constraint with its reason."""
    clock = str(event.get("time", ""))[11:19]
    return f"{clock} {_words(event)}".lstrip()


def event_message(event: dict[str, Any]) -> str:
    """The same for a log that has a clock of its own, and no colours."""
    return click.unstyle(_words(event))


def _words(event: dict[str, Any]) -> str:
    kind = event["kind"]
    if kind == "bind":
        return _bind(event)
    if kind == "violation":
        return _violation(event)
    if kind == "listener":
        return f"listening: {_violation(event)}"
    if kind == "collision":
        return _collision(event)
    if kind == "policy":
        return _policy(event)
    if kind == "hook":
        said = {"gone": "detached by somebody else", "restored": "attached again"}
        return f"hook {event['hook']} {said[event['result']]}"
    if kind == "lost":
        return f"{event['count']} events did not fit and were only counted"
    return f"{kind} {event}"


def _violation(event: dict[str, Any]) -> str:
    where, who = _endpoint(event["bind"]), _who(event)
    line = f"{verdict_text(event['verdict'])} {where} by {who}: {event['constraint']}"
    if "errno" in event:
        line += f" → {event['errno']}"
    if "reason" in event:
        line += f" ({event['reason']})"
    return line + _times(event)


def _bind(event: dict[str, Any]) -> str:
    who = f"{_endpoint(event['bind'])} by {_who(event)}"
    return f"{verdict_text(event['verdict'])} {who}" + _times(event)


def _collision(event: dict[str, Any]) -> str:
    shared = event.get("shared")
    word = "shared" if shared else "published" if event.get("published") else "taken"
    line = f"{word} {_endpoint(event['bind'])}: {_who(event)}"
    holder = event.get("holder")
    if holder is None:
        return f"{line} wanted it; whose it was is not known" + _times(event)
    if event.get("published"):
        line += f" gets nothing on it: {published_text(holder)}"
        return line + _times(event)
    line += f" {'has it beside' if shared else 'wanted it of'} {_holder(holder)}"
    if holder["address"] != event["bind"]["address"]:
        line += f" on {_address(holder['address'])}"
    return line + _times(event)


def published_text(rule: dict[str, Any]) -> str:
    """Who takes a port with no socket, and where it goes, of a holder that is a NAT rule."""
    more = f" and {rule['more']} more" if "more" in rule else ""
    by = rule["rule"] if rule["source"] == "nat" else f"{rule['source']} ({rule['rule']})"
    line = f"NAT by {by} sends what comes in to {rule['target']}{more}"
    return f"{line}: {rule['comment']}" if "comment" in rule else line


def _holder(holder: dict[str, Any]) -> str:
    """The oldest process and how many more, its workload; or what keeps the port without any."""
    more = f" +{holder['more']}" if "more" in holder else ""
    who = _who(holder, more)
    if who:
        return who
    ended = holder["state"] == "time-wait"
    return "a connection that has ended" if ended else f"a socket in state {holder['state']}"


def _endpoint(bind: dict[str, Any]) -> str:
    if "address" not in bind:
        return f"{bind['protocol']} port {bind['port']}"
    return f"{bind['protocol']} {_address(bind['address'])}:{bind['port']}"


def _address(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _who(event: dict[str, Any], more: str = "") -> str:
    """Process and workload, as far as they are known."""
    process = event.get("process")
    workload = event.get("workload", {}).get("name", "")
    if process is None:
        return str(workload)
    return f"{process['comm']}[{process['pid']}]{more}" + (f" of {workload}" if workload else "")


def _times(event: dict[str, Any]) -> str:
    return f" ×{event['count']}" if event["count"] > 1 else ""


def _policy(event: dict[str, Any]) -> str:
    if event["result"] == "refused":
        return "policy refused, the last one stays in force:\n  " + "\n  ".join(event["errors"])
    return (
        f"policy {event['source']} in force: {event['constraints']} constraints, "
        f"mode {event['mode']}, generation {event['generation']}, sha256 {event['sha256'][:12]}"
    )
