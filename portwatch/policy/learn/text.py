"""Learned constraints as YAML with comments that say what was seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from portwatch.policy.learn.constraints import Learned, LearnedConstraint, LearnedEntry
from portwatch.policy.learn.workload import LearnedWorkload

SCHEMA_FILE = "portwatch.schema.json"
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._/@-]*", re.ASCII)
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def policy_text(learned: Learned, slack: int) -> str:
    """A whole policy, which records until it is told to enforce."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# (portwatch schema > {SCHEMA_FILE})",
        *(f"# {line}" for line in summary(learned, slack)),
        "version: 1",
        "mode: record # tells what it would deny; `enforce` denies it",
        "constraints:",
    ]
    for one in learned.constraints:
        lines += block_lines(one, 2)
    return "\n".join(lines) + "\n"


def summary(learned: Learned, slack: int) -> Iterator[str]:
    """What was seen in all, and what the slack added, a sentence each."""
    count, total = learned.workloads, learned.total
    since = f", seen {total.moments}" if total.first else ""
    yield (
        f"Learned by portwatch from {total.times:,} bind{'s' * (total.times != 1)} of {count:,} "
        f"workload{'s' * (count != 1)}{since}."
    )
    if slack > 1:
        added = learned.unseen
        yield (
            f"Ports at most {slack} apart are one range, which took in {added:,} "
            f"port{'s' * (added != 1)} that nobody was seen on."
        )


def block_lines(one: LearnedConstraint, indent: int, mode: str | None = None) -> list[str]:
    """An item of a block sequence; `mode` is its own, where it needs one."""
    lines = [
        f"- name: {scalar(one.name)}",
        f"  for: {_selector(one.workload)}",
    ]
    if one.workload.only:
        lines.append(f"  except: {_below(one.workload)} # only what is in this very cgroup")
    lines.append(f"  addresses: [{', '.join(map(scalar, one.scopes))}]")
    lines.append("  allow:")
    words = [port_word(entry) for entry in one.entries]
    width = max(map(len, words))
    for entry, word in zip(one.entries, words, strict=True):
        lines.append(f"    - {word:<{width}} # {_entry_text(entry)}")
    if not one.is_last:
        lines.append("  otherwise: continue")
    if one.accepts:
        lines.append("  accept:")
        width = max(len(accepted.id) for accepted in one.accepts)
        lines += [f"    - {id:<{width}} # {about}" for id, about in one.accepts]
    if mode is not None:
        lines.append(f"  mode: {mode}")
    return [" " * indent + line for line in lines]


def flow_lines(one: LearnedConstraint, mode: str | None = None) -> list[str]:
    """An item of a flow sequence, without its comma: what was seen stands above it."""
    words = [port_word(entry) for entry in one.entries]
    parts = [f"name: {scalar(one.name)}", f"for: {_selector(one.workload)}"]
    if one.workload.only:
        parts.append(f"except: {_below(one.workload)}")
    parts.append(f"addresses: [{', '.join(map(scalar, one.scopes))}]")
    parts.append(f"allow: [{', '.join(words)}]")
    if not one.is_last:
        parts.append("otherwise: continue")
    if one.accepts:
        parts.append(f"accept: [{', '.join(accepted.id for accepted in one.accepts)}]")
    if mode is not None:
        parts.append(f"mode: {mode}")
    comments = [
        f"# {word}: {_entry_text(entry)}" for entry, word in zip(one.entries, words, strict=True)
    ]
    comments += [f"# {id}: {about}" for id, about in one.accepts]
    return [*comments, f"{{{', '.join(parts)}}}"]


def port_word(entry: LearnedEntry) -> str:
    """`8000-8003/tcp`; a protocol that has no word is meant by none."""
    first, last, _ = entry.ports
    body = "ephemeral" if last == 0 else str(first) if first == last else f"{first}-{last}"
    return body if entry.protocol == "other" else f"{body}/{entry.protocol}"


def scalar(value: str | int) -> str:
    """A YAML scalar that is read as this very text or number."""
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _selector(workload: LearnedWorkload) -> str:
    return _mapping(workload.selector)


def _mapping(keys: Mapping[str, Any]) -> str:
    parts = (
        f"{key}: {_mapping(value) if isinstance(value, dict) else scalar(value)}"
        for key, value in keys.items()
    )
    return "{" + ", ".join(parts) + "}"


def _below(workload: LearnedWorkload) -> str:
    return f"{{cgroup: {scalar(workload.name.rstrip('/') + '/*')}}}"


def _entry_text(entry: LearnedEntry) -> str:
    text = str(entry.use)
    unseen = entry.ports.unseen
    if unseen:
        text += f"; {unseen} port{'s' * (unseen != 1)} of these not seen"
    return text
