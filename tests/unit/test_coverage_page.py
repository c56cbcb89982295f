"""docs/coverage.md names what the kernel tests try, all of it and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ways import WAYS

from portwatch.kernel.uncovered import uncovered

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coverage.md").read_text()
NO_FEATURES = 0


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose first column is called so, row by row."""
    text = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in text.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_way_has_its_row() -> None:
    """The ways of the page are those of the matrix, in its order, each once."""
    assert [row[0] for row in table("way")] == [way.name for way in WAYS]
    assert len({way.name for way in WAYS}) == len(WAYS)


def test_every_situation_has_its_test() -> None:
    """Each situation names a test that is there, and each such test has its situation."""
    named = [row[2].strip("`") for row in table("situation")]
    there = [
        f"{path.name}::{node.name}"
        for path in (ROOT / "tests" / "kernel").glob("test_ways_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert sorted(named) == sorted(there)


def test_every_gap_has_its_meaning() -> None:
    """The gaps of the page are those that the worst kernel has, and no row speaks of another."""
    worst = uncovered(NO_FEATURES, set(), on_a_part=True, published_unread=True)
    gaps = worst.keys()
    assert {row[0].strip("`") for row in table("gap")} == gaps
    spoken_of = {
        word
        for row in (*table("way"), *table("situation"))
        for cell in row[1:]
        for word in re.findall(r"`([a-z_]+)`$", cell)
        if "::" not in cell
    }
    assert spoken_of - {"ephemeral"} <= gaps
