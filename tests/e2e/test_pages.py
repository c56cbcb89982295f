"""README and docs name only commands and options that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from product import portwatch

ROOT = Path(__file__).parents[2]
PAGES = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if path.exists()]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(portwatch [^`]+)`")
COMMAND = re.compile(r"(?:^|[\s/])portwatch ([a-z]+)(.*)")


def commands_on(page: Path) -> list[tuple[str, str]]:
    """Each command that the page shows as code, with what follows it."""
    text = page.read_text()
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    lines += INLINE.findall(FENCED.sub("", text))
    return [found.groups() for line in lines if (found := COMMAND.search(line.partition("#")[0]))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_only_what_there_is(page: Path) -> None:
    """Every command that a page shows exists, and has the options that are shown."""
    for command, rest in commands_on(page):
        done = portwatch(command, "--help")
        assert done.returncode == 0, f"portwatch {command}{rest}"
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert option in done.stdout, f"portwatch {command}{rest}"


def test_readme_shows_commands() -> None:
    """README shows how the product is used, so the test above has something to check."""
    assert len(commands_on(ROOT / "README.md")) >= 3
