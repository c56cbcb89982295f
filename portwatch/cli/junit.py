"""Results of cases as JUnit XML, as CI systems read it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import click

from portwatch.cli.case_text import failure_lines

if TYPE_CHECKING:
    from portwatch.policy.cases.cases import Result


def junit_xml(results: Sequence[Result]) -> bytes:
    """Return the document: a suite for each file of cases, a test case for each case."""
    root = Element("testsuites", {"name": "portwatch", **_counts(results)})
    for file, group in groupby(results, key=lambda one: one.case.file):
        cases = list(group)
        suite = SubElement(root, "testsuite", {"name": _plain(file), **_counts(cases)})
        for one in cases:
            _add(suite, one)
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _counts(results: Sequence[Result]) -> dict[str, str]:
    failed = sum(not one.passed for one in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "time": "0"}


def _add(suite: Element, result: Result) -> None:
    from portwatch.policy.cases.cases import expected_text

    case = result.case
    file, title = _plain(case.file), _plain(result.title)
    place = {"classname": file, "name": title, "file": file, "line": str(case.line), "time": "0"}
    element = SubElement(suite, "testcase", place)
    if result.unknown is not None:
        SubElement(element, "failure", type="unknown", message=_plain(result.unknown))
    elif result.failures:
        first = result.failures[0].decision
        message = f"expected {expected_text(case)}, came {first.verdict}"
        failure = SubElement(element, "failure", type="verdict", message=_plain(message))
        texts = ("\n".join(failure_lines(result, one)) for one in result.failures)
        failure.text = _plain(click.unstyle("\n\n".join(texts)))


def _plain(text: str) -> str:
    """What XML can hold: a file's name may have bytes that are no text."""
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text)
