"""From a cgroup to its row of decisions: classes made as cgroups appear, never more than fit.

A cgroup's class is the number of its signature (policy.compile); each class brings one row for
every user class, group class and network. Equal rows are stored once.
"""

from __future__ import annotations

from portwatch.kernel import layout
from portwatch.policy.tables.compile import CompiledPolicy, SubjectRow
from portwatch.policy.workload import KnownContainer


class SubjectsFull(Exception):
    """The next class or row does not fit the tables; `what` says which bound."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Subjects:
    """Hands out cgroup classes of one compiled policy, and writes their rows into its slot.

    What a class refers to is written before the class is handed out, so that a live slot can
    grow. Class 0 is the hierarchy's root: the kernel falls back on it.
    """

    def __init__(self, compiled: CompiledPolicy, workload_numbers: dict[str, int]) -> None:
        self._compiled = compiled
        self._workload_numbers = workload_numbers
        self._classes: dict[int, int] = {}
        self._rows: dict[tuple[bytes, int], int] = {}
        networks = (False, True) if compiled.uses_network else (True,)
        self._variants = [
            (user, group, network)
            for user in range(compiled.user_class_count)
            for group in range(compiled.group_class_count)
            for network in networks
        ]

    def class_of(self, path: str, container: KnownContainer | None, tables: layout.Tables) -> int:
        """The class of the cgroup at `path`; SubjectsFull where a new one does not fit."""
        signature = self._compiled.cgroup_signature(path, container)
        known = self._classes.get(signature)
        return self._add(signature, tables) if known is None else known

    @property
    def row_count(self) -> int:
        """Rows in use; there may be as many as fit MAX_ROWS and MAX_CELLS."""
        return len(self._rows)

    @property
    def row_capacity(self) -> int:
        """Rows that fit this policy's number of endpoint classes."""
        return min(layout.MAX_ROWS, layout.MAX_CELLS // self._compiled.endpoint_class_count)

    def _add(self, signature: int, tables: layout.Tables) -> int:
        number = len(self._classes)
        first = number * len(self._variants)
        if first + len(self._variants) > layout.MAX_SUBJECTS:
            raise SubjectsFull(f"more than {layout.MAX_SUBJECTS:,} subject classes")
        for index, (user, group, network) in enumerate(self._variants, first):
            row = self._compiled.subject_row(signature, user, group, network)
            tables.subjects[index] = self._row_number(row, tables)
        self._classes[signature] = number
        return number

    def _row_number(self, row: SubjectRow, tables: layout.Tables) -> int:
        workload = self._workload_numbers.get(row.workload, 0) if row.workload else 0
        key = (row.decisions.tobytes(), workload)
        known = self._rows.get(key)
        if known is not None:
            return known
        number = len(self._rows)
        if number >= self.row_capacity:
            raise SubjectsFull(f"more than {self.row_capacity:,} distinct subjects")
        start = number * self._compiled.endpoint_class_count
        tables.decisions[start : start + len(row.decisions)] = row.decisions
        tables.row_workload[number] = workload
        self._rows[key] = number
        return number
