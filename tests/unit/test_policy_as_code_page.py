"""docs/policy-as-code.md: what it shows is so, and every finding it names is one."""

from __future__ import annotations

import re
from pathlib import Path

from portwatch.agent.lint.lint import MACHINE_IDS
from portwatch.policy.cases.cases import run_cases
from portwatch.policy.cases.files import read_cases
from portwatch.policy.lint.lint import IDS
from portwatch.policy.source.load import parse_policy

PAGE = (Path(__file__).parents[2] / "docs" / "policy-as-code.md").read_text()


def block(kind: str) -> str:
    """The one example of a kind."""
    (found,) = re.findall(rf"```yaml {kind}\n(.*?)```", PAGE, re.S)
    return str(found)


def test_the_cases_pass() -> None:
    """The page's cases pass under the page's policy, as many as it says."""
    policy = parse_policy([("policy.yaml", block("policy"))])
    results = run_cases(policy, read_cases([("cases.yaml", block("cases"))]))
    assert all(result.passed for result in results)
    assert f"{len(results)} cases passed" in PAGE


def test_every_finding_is_on_the_page() -> None:
    """The table has each finding of `check`, and no other."""
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.M)
    assert {word for row in rows for word in re.findall("`([^`]*)`", row)} == {*IDS, *MACHINE_IDS}
