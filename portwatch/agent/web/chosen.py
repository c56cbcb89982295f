"""Which workloads a page is about: all, or those that `workload` and `q` choose."""

from __future__ import annotations

from dataclasses import dataclass

from portwatch.agent.web.answer import Query
from portwatch.policy.words.globs import is_glob, match_name

MOST_LETTERS = 512


@dataclass(frozen=True, slots=True)
class Chosen:
    """`workload`: a name or a glob; `text`: letters in the name; empty ones choose everything."""

    workload: str = ""
    text: str = ""

    @classmethod
    def by(cls, query: Query) -> Chosen:
        """As the URL says."""
        return cls(query.get("workload", "")[:MOST_LETTERS], query.get("q", "")[:MOST_LETTERS])

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.workload and not self.text

    def has(self, name: str) -> bool:
        """Whether a workload is meant."""
        if self.text and self.text.casefold() not in name.casefold():
            return False
        if not self.workload or self.workload == name:
            return True
        return is_glob(self.workload) and match_name(self.workload, name)
