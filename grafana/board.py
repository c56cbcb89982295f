"""What makes a dashboard of variables and rows, and the JSON of it that Grafana reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from grafana.about import AnyPanel

FOLDER = Path(__file__).parent / "dashboards"


class RowOfPanels(Protocol):
    """A module of grafana/rows or grafana/fleet."""

    TITLE: str

    def panels(self) -> Iterator[AnyPanel]:
        """In reading order."""


@dataclass(frozen=True)
class Board:
    """A dashboard; `name` is its title, its uid and its file's name."""

    name: str
    description: str
    variables: Sequence[DatasourceVariable | QueryVariable | CustomVariable]
    rows: Sequence[RowOfPanels]
    links: Iterable[DashboardLink]

    @property
    def path(self) -> Path:
        """Where its JSON is committed."""
        return FOLDER / f"{self.name}.json"

    def json(self) -> str:
        """What that file has to be."""
        made = (
            Dashboard(self.name)
            .uid(self.name)
            .description(self.description)
            .tags(["portwatch", "security", "ebpf"])
            .time("now-6h", "now")
            .refresh("1m")
            .tooltip(DashboardCursorSync.CROSSHAIR)
        )
        for link in self.links:
            made.link(link)
        for variable in self.variables:
            made.with_variable(variable)
        number = 0
        for row in self.rows:
            number += 1
            made.with_row(Row(row.TITLE).id(number))
            for panel in row.panels():
                number += 1
                made.with_panel(panel.id(number))
        return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
