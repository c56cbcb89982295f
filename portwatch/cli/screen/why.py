"""Why a row is what it is, and what else its workload may bind: a page of text."""

from __future__ import annotations

from pathlib import Path

import click

from portwatch.agent.board.row import Row
from portwatch.agent.identity.account_words import AccountWords
from portwatch.agent.in_force import policy_in_kernel
from portwatch.cli.endpoint_text import parse_endpoint
from portwatch.cli.explain import answer_to
from portwatch.cli.explanation import answer_lines
from portwatch.cli.screen.columns import why
from portwatch.cli.subject_options import SubjectOptions, find_subject
from portwatch.cli.tables import printable
from portwatch.errors import PortwatchError
from portwatch.kernel.pins import PinDir
from portwatch.policy.words.ports import judged_as


def why_text(row: Row, process: str, pin_dir: Path, engines: tuple[str, ...]) -> list[str]:
    """What was counted, then what `explain` says by the policy in the kernel; asks the machine."""
    lines = [
        f"{row.word} {row.endpoint} on {_addresses(row)} by {row.workload}",
        f"  {row.count:,} {_what(row)}" + (f", by {process}" if process else ""),
    ]
    if why(row):
        lines.append(f"  {'constraint ' if row.constraint else ''}{why(row)}")
    if row.cgroup:
        lines.append(f"  cgroup {row.cgroup}")
    lines.append("")
    try:
        lines += _explained(row, pin_dir, engines)
    except PortwatchError as err:
        lines.append(f"not explained: {err.message}")
    return [printable(click.unstyle(line)) for line in lines]


def _addresses(row: Row) -> str:
    return f"{row.address} ({row.scope})" if row.address else "an address that nobody noted"


def _what(row: Row) -> str:
    many = "s" * (row.count != 1)
    return f"socket{many}" if row.kind == "listener" else f"bind{many} since portwatch was loaded"


def _explained(row: Row, pin_dir: Path, engines: tuple[str, ...]) -> list[str]:
    policy, _ = policy_in_kernel(PinDir(pin_dir))
    if not row.cgroup or not row.address:
        return [
            "The kernel does not remember the binds any more, only their count:",
            "  portwatch explain --unit U --port PORT asks about another one",
        ]
    protocol = judged_as(row.protocol)
    port = f"{row.port}/{protocol}" if row.port else f"ephemeral/{protocol}"
    endpoint = parse_endpoint(port, row.address, False)
    uid = None if row.uid is None else str(row.uid)
    given = SubjectOptions(None, None, None, row.cgroup, None, uid, None, None, engines)
    asked = find_subject(given, AccountWords.of(policy))
    answer = answer_to(policy, asked, endpoint, port, row.address)
    return ["by the policy in force:", *answer_lines(answer)]
