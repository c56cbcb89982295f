"""Constraints put into the text of a policy by their place, every other character left as it is.

Nobody's comments are looked for and nothing is written anew; so it is tried, and read again: only a
text that says what it said before, and the new constraints, is handed back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any, NamedTuple

from portwatch.errors import UsageError
from portwatch.policy.learn.constraints import LearnedConstraint
from portwatch.policy.learn.text import block_lines, flow_lines
from portwatch.policy.source.document import Document, read_document
from portwatch.policy.source.problems import Problems

END = -1
MAX_TRIES = 64
BOM = "\ufeff"


class Insertion(NamedTuple):
    """Constraints to stand before the one of that number, or at the END, with a `mode` of their
    own or none."""

    where: int
    constraints: Sequence[LearnedConstraint]
    mode: str | None


def inserted(name: str, text: str, insertions: Sequence[Insertion]) -> str:
    """The text with all of them. UsageError where there is no place for one."""
    for one in sorted(insertions, key=lambda one: (one.where != END, -one.where)):
        text = _insert(name, text, one)
    return text


def _insert(name: str, text: str, one: Insertion) -> str:
    body = text.removeprefix(BOM)
    mark = text[: len(text) - len(body)]
    newline = "\r\n" if "\r\n" in body else "\n"
    if not body.endswith("\n"):
        body += newline
    document = _read(name, body)
    for candidate in islice(_candidates(document, body, one, newline), MAX_TRIES):
        if _says_both(document, _try_read(name, candidate), one):
            return mark + candidate
    raise UsageError(
        f"cannot put a constraint into {name} without writing it anew",
        hint="leave out --merge and put what is learned where it belongs, by hand",
    )


def _candidates(document: Document, text: str, one: Insertion, newline: str) -> Iterator[str]:
    """The text as extended at each place where it might be right, the likeliest first."""
    layout = _Layout(document, text)
    if not layout.has_list:
        lines = ["constraints:", *_block(one, 2)]
        yield from _with_lines(text, [len(text)], lines, newline)
    elif layout.is_flow:
        at_end = one.where == END
        for place in layout.flow_ends() if at_end else [layout.start(one.where)]:
            for comma in ("", ","):
                yield _with_flow(text, place, one, comma, newline + " " * layout.indent)
    else:
        dash = layout.dash(0 if one.where == END else one.where)
        if dash is not None:
            indent = dash - (text.rfind("\n", 0, dash) + 1)
            places = layout.block_ends(indent) if one.where == END else [layout.above(dash)]
            yield from _with_lines(text, places, _block(one, indent), newline)


class _Layout:
    """Where things stand in a text, as offsets."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text
        self._lines = _line_starts(text)
        data = document.data if isinstance(document.data, dict) else {}
        self.has_list = "constraints" in data
        self._count = len(data.get("constraints", ()))
        self._list = self._offset(document.place(("constraints",))) if self.has_list else 0
        self.is_flow = self.has_list and text[self._list : self._list + 1] == "["
        self.indent = document.place(("constraints",), key=True)[1] + 1

    def start(self, number: int) -> int:
        """Where a constraint begins, behind its dash."""
        return self._offset(self._document.place(("constraints", number)))

    def dash(self, number: int) -> int | None:
        """Where the dash of a constraint is; None where something else stands before it."""
        before = self._text[: self.start(number)].rstrip(" \t\r\n")
        line = before[before.rfind("\n") + 1 :]
        return len(before) - 1 if line.strip(" ") == "-" else None

    def above(self, dash: int) -> int:
        """The beginning of the line of a dash, or of the comment right above it."""
        place = self._text.rfind("\n", 0, dash) + 1
        indent = dash - place
        while place:
            start = self._text.rfind("\n", 0, place - 1) + 1
            line = self._text[start:place]
            text = line.lstrip(" ")
            if not text.startswith("#") or len(line) - len(text) > indent:
                break
            place = start
        return place

    def block_ends(self, indent: int) -> list[int]:
        """Ends of lines after the last constraint: first where what is indented further ends."""
        last = self.start(self._count - 1)
        starts = [start for start in self._lines if start > last]
        likely = 0
        for number, (start, end) in enumerate(pairwise(starts), 1):
            line = self._text[start:end]
            text = line.lstrip(" ")
            if text.strip() and len(line) - len(text) <= indent:
                break
            if text.strip():
                likely = number
        return starts[likely:]

    def flow_ends(self) -> Iterator[int]:
        """The brackets that may close the list."""
        last = self.start(self._count - 1) if self._count else self._list
        for found in re.compile(r"\]").finditer(self._text, last):
            yield found.start()

    def _offset(self, place: tuple[int, int]) -> int:
        return self._lines[place[0] - 1] + place[1] - 1


def _line_starts(text: str) -> list[int]:
    """Where lines begin, and where the text ends."""
    return [0, *accumulate(map(len, text.splitlines(keepends=True)))]


def _block(one: Insertion, indent: int) -> list[str]:
    return [line for part in one.constraints for line in block_lines(part, indent, one.mode)]


def _with_lines(
    text: str, places: Iterable[int], lines: Sequence[str], newline: str
) -> Iterator[str]:
    for place in places:
        yield text[:place] + "".join(line + newline for line in lines) + text[place:]


def _with_flow(text: str, place: int, one: Insertion, comma: str, margin: str) -> str:
    """Before another item, or before the bracket, with a comma in front where one is missing."""
    items = f",{margin}".join(margin.join(flow_lines(part, one.mode)) for part in one.constraints)
    behind = margin if one.where == END else f",{margin}"
    return f"{text[:place]}{comma}{margin}{items}{behind}{text[place:]}"


def _read(name: str, text: str) -> Document:
    problems = Problems()
    document = read_document(name, text, problems)
    problems.raise_if_any()
    assert document is not None
    return document


def _try_read(name: str, text: str) -> Any:
    problems = Problems()
    document = read_document(name, text, problems)
    return None if document is None or len(problems) else document.data


def _says_both(document: Document, after: Any, one: Insertion) -> bool:
    """Whether all that was there is there, and what came is where it should be."""
    before = document.data
    if not isinstance(before, dict) or not isinstance(after, dict):
        return False
    old, new = before.get("constraints", []), after.get("constraints")
    at = len(old) if one.where == END else one.where
    count = len(one.constraints)
    names = [part.name for part in one.constraints]
    return (
        isinstance(new, list)
        and {**after, "constraints": None} == {**before, "constraints": None}
        and new[:at] == old[:at]
        and new[at + count :] == old[at:]
        and [item.get("name") for item in new[at : at + count]] == names
    )
