"""`status`: what is enforced now."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portwatch.cli.options import json_option, pin_dir_option

if TYPE_CHECKING:
    from portwatch.agent.kubernetes.pod_file import KeptPods
    from portwatch.kernel.pins import PinDir
    from portwatch.kernel.readings import Readings
    from portwatch.policy.model import Policy


@click.command()
@pin_dir_option
@json_option
def status(pin_dir: Path, as_json: bool) -> None:
    """Show hooks, mode, policy and counters, and what this kernel cannot do.

    Exit status 3 where nothing is loaded.
    """
    from portwatch.cli.patience import patience

    with patience("looking at this machine"):
        facts = gather(pin_dir)
    click.echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def gather(pin_dir: Path) -> dict[str, Any]:
    """Everything that `status` shows, by name; NotLoaded where there is nothing."""
    from portwatch import __version__
    from portwatch.agent.in_force import policy_in_kernel
    from portwatch.agent.kubernetes.pod_file import pods_path, read_pods
    from portwatch.errors import NotLoaded
    from portwatch.kernel.loading import read_meta
    from portwatch.kernel.names import Names
    from portwatch.kernel.pins import PinDir
    from portwatch.kernel.readings import Readings
    from portwatch.kernel.slots import Slots

    pins = PinDir(pin_dir)
    readings = Readings(pins)
    meta = read_meta(pins)
    totals = readings.totals()
    names = Names(pins.open_map("names"))
    classes: dict[str, Any] | None = None
    try:
        policy, stored = policy_in_kernel(pins)
        with closing(Slots(pins)) as slots:
            generation = slots.generation
        in_force: dict[str, Any] | None = {
            "source": stored.origin,
            "sha256": policy.sha256,
            "mode": policy.mode,
            "constraints": len(policy.constraints),
            "generation": generation,
            "age_seconds": round(time.time() - stored.published_at, 1),
        }
        classes = _classes(pins, generation, policy)
    except NotLoaded:
        in_force = None
    pods = read_pods(pods_path(pin_dir))
    hooks = readings.hooks()
    verdicts = ("allowed", "denied", "recorded")
    return {
        "version": __version__,
        "pin_dir": str(pin_dir),
        "loaded_seconds_ago": round(
            (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - meta.loaded_ns) / 1e9, 1
        ),
        "agent_pid": pins.agent_pid(),
        "enforcing": in_force is not None and all(h.attached for h in hooks if h.required),
        "policy": in_force,
        "hooks": {hook.name: hook.attached for hook in hooks},
        "cgroups": classes,
        **({"kubernetes": _pods(pods)} if pods else {}),
        "binds": {
            verdict: sum(n for labels, n in totals.binds.items() if labels[0] == verdict)
            for verdict in verdicts
        },
        "violations": [
            {
                "constraint": names.text(entry.constraint),
                "verdict": entry.verdict,
                "workload": names.text(entry.workload),
                "protocol": entry.protocol,
                "port": entry.port,
                "count": entry.count,
            }
            for entry in sorted(readings.violations(), key=lambda entry: -entry.count)
        ],
        "unjudged": totals.unjudged,
        "events_lost": totals.events_lost,
        "events_suppressed": totals.events_suppressed,
        **_published(readings),
    }


def _published(readings: Readings) -> dict[str, Any]:
    """Ports that are taken with no socket, by who published them; and what is not covered, which
    is these where nobody may look."""
    from collections import Counter

    from portwatch.cli.enforcement import HOST
    from portwatch.node.namespaces import find_namespaces
    from portwatch.node.published_ports import find_published

    published, unread = find_published(HOST, find_namespaces(HOST))
    counts: Counter[str] = Counter()
    for one in published:
        counts[one.rule.source] += one.rule.last - one.rule.first + 1
    return {"published_ports": dict(counts), "uncovered": readings.uncovered(bool(unread))}


def _pods(kept: KeptPods) -> dict[str, Any]:
    """What is known of pods, and how old that is."""
    contact = kept.contact_seconds
    heard = {"last_contact_seconds_ago": round(time.time() - contact, 1)} if contact else {}
    return {"pods": len(kept.book), **heard}


def _classes(pins: PinDir, generation: int, policy: Policy) -> dict[str, Any]:
    """The cgroups here by class: those that no constraint tells apart."""
    from portwatch.agent.identity.class_counts import class_counts
    from portwatch.agent.identity.container_asking import ask_now, names_containers, names_pods
    from portwatch.agent.identity.containers import ContainerBook
    from portwatch.cli.enforcement import HOST, cgroup_tree

    tree = cgroup_tree()
    asks = names_containers(policy) or names_pods(policy)
    book = ask_now(tree, HOST, tree.scan()) if asks else ContainerBook()
    counts, unclassified = class_counts(pins, generation, tree, policy, book)
    shown = [
        {
            "for": list(count.meant),
            "except": list(count.excepted),
            "cgroups": count.cgroups,
            "example": count.example.encode("utf-8", "replace").decode(),
        }
        for count in counts
    ]
    return {"classes": shown, "unclassified": unclassified}


SHOWN_VIOLATIONS = 10
SHOWN_CLASSES = 10


def _lines(facts: dict[str, Any]) -> list[str]:
    agent = f"pid {facts['agent_pid']}" if facts["agent_pid"] else "not running"
    lines = [
        f"portwatch {facts['version']}",
        f"  pins      {facts['pin_dir']}, loaded {_ago(facts['loaded_seconds_ago'])}",
        f"  agent     {agent}",
    ]
    policy = facts["policy"]
    if policy is None:
        lines.append("  policy    none in force: every bind goes through")
    else:
        lines += [
            f"  policy    {policy['source']}, {policy['constraints']} constraints, "
            f"in force for {_span(policy['age_seconds'])}",
            f"            sha256 {policy['sha256'][:12]}, generation {policy['generation']}",
            f"  mode      {policy['mode']}",
        ]
    hooks = [name if up else f"{name} GONE" for name, up in facts["hooks"].items()]
    binds = " · ".join(f"{verdict} {count:,}" for verdict, count in facts["binds"].items())
    lines += [
        f"  hooks     {', '.join(hooks)}",
        f"  binds     {binds}",
        f"  published {_counts(facts['published_ports'])}",
        f"  events    lost {facts['events_lost']:,} · suppressed {facts['events_suppressed']:,}",
    ]
    if "kubernetes" in facts:
        lines.append(_pod_line(facts["kubernetes"]))
    if facts["cgroups"] is not None:
        lines += _class_lines(facts["cgroups"])
    if facts["violations"]:
        lines.append("violations")
        for entry in facts["violations"][:SHOWN_VIOLATIONS]:
            lines.append(
                f"  {entry['count']:>7,}  {entry['verdict']} {entry['protocol']} {entry['port']} "
                f"by {entry['workload']}: {entry['constraint']}"
            )
        rest = len(facts["violations"]) - SHOWN_VIOLATIONS
        if rest > 0:
            lines.append(f"           … and {rest:,} more; --json has all")
    lines.append("not covered on this kernel")
    lines += [f"  {gap}: {text}" for gap, text in facts["uncovered"].items()]
    return lines


def _pod_line(kubernetes: dict[str, Any]) -> str:
    seconds = kubernetes.get("last_contact_seconds_ago")
    heard = f"heard of {_ago(seconds)}" if seconds is not None else "never heard of"
    return (
        f"  pods      {kubernetes['pods']:,} known; the API server was {heard}, or a minute later"
    )


def _class_lines(cgroups: dict[str, Any]) -> list[str]:
    lines = ["cgroups"]
    for entry in cgroups["classes"][:SHOWN_CLASSES]:
        said = [f"for {', '.join(entry['for'])}"] if entry["for"] else []
        said += [f"except {', '.join(entry['except'])}"] if entry["except"] else []
        which = " · ".join(said) or "named by no constraint"
        lines.append(f"  {entry['cgroups']:>7,}  {which}, such as {entry['example']}")
    rest = len(cgroups["classes"]) - SHOWN_CLASSES
    if rest > 0:
        lines.append(f"           … and {rest:,} more classes; --json has all")
    if cgroups["unclassified"]:
        count = cgroups["unclassified"]
        lines.append(f"  {count:>7,}  not classified: as the nearest above them")
    return lines


def _counts(published: dict[str, int]) -> str:
    if not published:
        return "no port is taken with no socket"
    total = sum(published.values())
    by = " · ".join(f"{source} {count:,}" for source, count in sorted(published.items()))
    return f"{total:,} port{'s' * (total != 1)} taken with no socket: {by}"


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
