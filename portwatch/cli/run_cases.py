"""`test`: a policy's own tests, binds with the verdict expected."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from portwatch.cli.case_text import failure_lines, question
from portwatch.cli.options import ANY_PATH, json_option, mode_option
from portwatch.errors import UsageError

if TYPE_CHECKING:
    from portwatch.policy.cases.cases import Failure, Result

SHOWN_FAILURES = 3
"""Of one case: it may ask for many ports, each refused alike."""


@click.command()
@click.argument("path", type=ANY_PATH)
@click.argument("cases", type=ANY_PATH, nargs=-1, required=True)
@click.option("--only", metavar="GLOB", help="Only cases whose name matches.")
@mode_option
@click.option("--junit", type=ANY_PATH, metavar="FILE", help="Write JUnit XML there too.")
@json_option
def test(
    path: Path,
    cases: tuple[Path, ...],
    only: str | None,
    mode: Literal["enforce", "record"] | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Hold the policy at PATH against CASES: YAML files, or directories of *.yaml, that say which
    binds it has to allow, deny or record.

    Needs no root and no kernel, and asks nothing of this machine but its catalog. Exit status 1
    where a case fails, 2 where the policy or a file of cases is bad.
    """
    from portwatch.cli.patience import patience
    from portwatch.policy.cases.cases import run_cases
    from portwatch.policy.cases.files import read_cases
    from portwatch.policy.source.files import read_files
    from portwatch.policy.source.load import load_policy

    with patience("trying the cases"):
        policy = load_policy(path)
        sources = [source for one in cases for source in read_files(one, "cases")]
        chosen = run_cases(policy.with_mode(mode) if mode else policy, read_cases(sources))
    if only is not None:
        chosen = [one for one in chosen if fnmatchcase(one.title, only)]
        if not chosen:
            raise UsageError(f"no case is called {only}", hint="--only takes a glob, in quotes")
    if junit is not None:
        _write_junit(junit, chosen)
    failed = sum(not one.passed for one in chosen)
    if as_json:
        facts = {"passed": len(chosen) - failed, "failed": failed}
        click.echo(json.dumps({**facts, "cases": [_facts(one) for one in chosen]}))
    else:
        for one in chosen:
            if not one.passed:
                click.echo("\n".join(_lines(one)))
        count = f"{len(chosen):,} case{'s' * (len(chosen) != 1)}"
        click.echo(f"{failed:,} of {count} failed" if failed else f"{count} passed")
    if failed:
        raise click.exceptions.Exit(1)


def _write_junit(path: Path, results: list[Result]) -> None:
    from portwatch.cli.junit import junit_xml

    try:
        path.write_bytes(junit_xml(results))
    except OSError as err:
        raise UsageError(f"cannot write {path}: {err.strerror or err}") from err


def _lines(result: Result) -> list[str]:
    case = result.case
    lines = [f"{click.style('FAIL', fg='red', bold=True)}  {case.file}:{case.line}: {result.title}"]
    if result.unknown is not None:
        return [*lines, f"      {result.unknown}"]
    for failure in result.failures[:SHOWN_FAILURES]:
        lines += [f"      {line}" for line in failure_lines(result, failure)]
    more = len(result.failures) - SHOWN_FAILURES
    return [*lines, f"      … and {more:,} more; --json has all"] if more > 0 else lines


def _facts(result: Result) -> dict[str, object]:
    case = result.case
    expected = {"verdict": case.verdict, "constraint": case.constraint, "errno": case.errno}
    facts: dict[str, object] = {
        "name": result.title,
        "file": case.file,
        "line": case.line,
        "passed": result.passed,
        "expected": {key: value for key, value in expected.items() if value is not None},
    }
    if result.unknown is not None:
        facts["error"] = result.unknown
    if result.failures:
        facts["failures"] = [_failure_facts(result, one) for one in result.failures]
    return facts


def _failure_facts(result: Result, failure: Failure) -> dict[str, object]:
    got = {key: value for key, value in vars(failure.decision).items() if value is not None}
    return {
        "bind": question(result, failure),
        "cgroup": failure.subject.cgroup,
        "ports": failure.ports,
        "address": str(result.case.address),
        "got": got,
        "steps": [vars(step) for step in failure.steps],
    }
