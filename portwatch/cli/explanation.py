"""The answer of `explain`, for those who own the service: verdict, why, what else there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from portwatch.cli.event_line import published_text
from portwatch.cli.verdict_style import verdict_text
from portwatch.policy.words.port_text import coalesced, range_text
from portwatch.policy.words.ports import PortRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portwatch.policy.catalog.entry import CatalogEntry
    from portwatch.policy.decide import Decision, Step
    from portwatch.policy.owners import Owner
    from portwatch.policy.tables.permitted import Permitted

SHOWN_RANGES = 10
SHOWN_OTHERS = 3
MANY_STEPS = 12
"""With more constraints than these, those next to one another that say nothing are one line."""

_COLOURS = {"deny": "red", "allow": "green"}


@dataclass(frozen=True)
class Answer:
    """All there is to say of one bind; `port` as policies write it. `holders` as events have them;
    what a denied bind is told beside the verdict is empty for an allowed one, but for the NAT rules
    by which its port is `published`, and why they may be `unread`."""

    question: str
    port: str
    protocol: str
    decision: Decision
    steps: Sequence[Step]
    may_bind: Sequence[Permitted] = ()
    owners: Sequence[Owner] = ()
    catalog: Sequence[CatalogEntry] = ()
    holders: Sequence[dict[str, Any]] = ()
    published: Sequence[dict[str, Any]] = ()
    unread: Sequence[str] = ()


def print_answer(answer: Answer) -> None:
    """In words, for a terminal."""
    for line in answer_lines(answer):
        click.echo(line)


def answer_lines(answer: Answer) -> Iterator[str]:
    """In words, a line each, in click's colours."""
    yield answer.question
    yield from _steps(answer.steps)
    decision = answer.decision
    verdict = verdict_text(decision.verdict)
    if decision.verdict == "allowed":
        yield f"{verdict}" + (f" by {decision.constraint}" if decision.constraint else "")
    else:
        outcome = f"fails with {decision.errno}" if decision.verdict == "denied" else "goes through"
        yield f"{verdict} by {decision.constraint}: bind() {outcome}"
        if decision.reason:
            yield f"reason: {decision.reason}"
    yield from _owners(answer)
    yield from _may_bind(answer.may_bind, answer.protocol)
    for text in answer.unread:
        yield f"note: whether NAT takes the port is not known: {text}"


def more_facts(answer: Answer) -> dict[str, Any]:
    """The same for machines: what there is beside the verdict."""
    from portwatch.policy.explanation import explanation_facts

    facts = explanation_facts(answer.may_bind, answer.owners, answer.catalog)
    facts["holders"] = list(answer.holders)
    facts["published"] = list(answer.published)
    facts["unread"] = list(answer.unread)
    return {key: value for key, value in facts.items() if value}


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    width = max(len(step.name) for step in steps)
    quiet: list[int] = []
    for number, step in enumerate(steps, 1):
        if len(steps) > MANY_STEPS and step.effect in ("skip", "continue"):
            quiet.append(number)
            continue
        yield from _quiet_steps(quiet, steps, width)
        quiet.clear()
        yield _step(number, step, width)
    yield from _quiet_steps(quiet, steps, width)


def _quiet_steps(numbers: Sequence[int], steps: Sequence[Step], width: int) -> Iterator[str]:
    """One line for many that say nothing; each its own where they are few."""
    if len(numbers) > SHOWN_OTHERS:
        yield click.style(f"  … {len(numbers)} constraints that say nothing of it", dim=True)
    else:
        for number in numbers:
            yield _step(number, steps[number - 1], width)


def _step(number: int, step: Step, width: int) -> str:
    colour = _COLOURS.get(step.effect)
    text = click.style(step.why, fg=colour, dim=not colour)
    return f"  {number}. {step.name:<{width}}  {text}"


def _owners(answer: Answer) -> Iterator[str]:
    lines = [str(owner) for owner in answer.owners[:SHOWN_OTHERS]]
    if answer.owners[SHOWN_OTHERS:]:
        lines.append(f"… and {len(answer.owners) - SHOWN_OTHERS} constraints more allow it")
    lines += [_holder_text(facts) for facts in answer.holders[:SHOWN_OTHERS]]
    lines += [f"taken: {published_text(facts)}" for facts in answer.published[:SHOWN_OTHERS]]
    names = [f"{one.description} (catalog:{one.name})" for one in answer.catalog[:SHOWN_OTHERS]]
    if lines or names:
        yield f"{answer.port}: " + ("; ".join(names) if names else "whose it is")
        for line in lines:
            yield f"  {line}"


def _holder_text(facts: dict[str, Any]) -> str:
    process = facts.get("process")
    who = f"{process['comm']}[{process['pid']}]" if process else "an unseen process"
    since = f" since {facts['since'][:19]}Z" if "since" in facts else ""
    return f"in use by {who} of {facts['workload']['name']}, on {facts['address']}{since}"


def _may_bind(may_bind: Sequence[Permitted], protocol: str) -> Iterator[str]:
    """Of the protocol that was asked for; --json has the others too."""
    if not may_bind:
        return
    yield f"this workload may bind, of {protocol}"
    for one in may_bind:
        found = _joined(one.ports, protocol)
        ports = [range_text(PortRange(r.first, r.last)) for r in found]
        text = ", ".join(ports[:SHOWN_RANGES]) or "nothing"
        if ports[SHOWN_RANGES:]:
            text += f" and {len(ports) - SHOWN_RANGES} ranges more (--json has all)"
        yield f"  on {', '.join(one.addresses)}: {text}"


def _joined(ranges: Iterable[PortRange], protocol: str) -> list[PortRange]:
    """Those of one protocol, as few as they can be."""
    return coalesced(
        (protocol, one.first, one.last) for one in ranges if one.protocol in (None, protocol)
    )
