"""How the board is looked at: order, filter, place. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from portwatch.agent.board.row import WORDS, Key, Row
from portwatch.cli.screen.columns import COLUMNS, SORTS

FILTERS = (*WORDS, "")


@dataclass
class View:
    """`words`: the one of WORDS to show, or all where empty. The row that is selected stays so when
    rows come and go."""

    sort: str = "verdict"
    is_reversed: bool = False
    filter: str = ""
    word: str = ""
    selected: int = 0
    top: int = 0
    rows: list[Row] = field(default_factory=list)
    _key: Key | None = None

    def show(self, rows: Iterable[Row]) -> None:
        """Put them in order, without those that are not asked for."""
        order = next(column.order for column in COLUMNS if column.name == self.sort)
        wanted = [row for row in rows if self._wants(row)]
        wanted.sort(key=lambda row: row.key)
        wanted.sort(key=order, reverse=self.is_reversed)
        self.rows = wanted
        found = (number for number, row in enumerate(wanted) if row.key == self._key)
        self.select(next(found, self.selected) if self.selected or self.top else 0)

    def select(self, number: int) -> None:
        """The row of that number, or the nearest there is."""
        self.selected = max(0, min(number, len(self.rows) - 1))
        self._key = self.rows[self.selected].key if self.rows else None

    def fit(self, height: int) -> list[Row]:
        """The rows on a screen with room for that many, the selected one among them."""
        self.top = min(self.top, self.selected, max(len(self.rows) - height, 0))
        self.top = max(self.top, self.selected - height + 1, 0)
        return self.rows[self.top : self.top + max(height, 0)]

    @property
    def chosen(self) -> Row | None:
        """The selected row; None where there is none."""
        return self.rows[self.selected] if self.rows else None

    def next_sort(self, step: int) -> None:
        """The next column, or with -1 the one before."""
        self.sort = SORTS[(SORTS.index(self.sort) + step) % len(SORTS)]
        self.is_reversed = False

    def next_word(self) -> None:
        """The next of the verdicts, and after the last one all of them."""
        self.word = FILTERS[(FILTERS.index(self.word) + 1) % len(FILTERS)]

    def _wants(self, row: Row) -> bool:
        if self.word and row.word != self.word:
            return False
        if not self.filter:
            return True
        texts = (row.workload, row.constraint, row.endpoint, str(row.port))
        if any(letter in self.filter for letter in "*?["):
            return any(fnmatchcase(text, self.filter) for text in texts)
        return any(self.filter.lower() in text.lower() for text in texts)
