"""What every panel has, and how it is put on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import ThresholdsMode

from grafana.variables import DATASOURCE

REF_IDS = ascii_uppercase
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on, which colour; the first one from None on."""

Names = dict[str, tuple[str, str]]
"""Value → the word that stands for it, and its colour."""

PLAIN: Steps = ((None, BLUE),)

AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | statetimeline.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, statetimeline.Panel, table.Panel)


@dataclass(frozen=True)
class About:
    """What every panel has: its width of 24, its title, what it means in plain words, a unit as
    Grafana calls it, and what it says without data."""

    width: int
    title: str
    meaning: str
    unit: str = "none"
    no_data: str = "No data: is the agent up, and scraped?"
    steps: Steps = PLAIN
    names: Names | None = None
    links: Sequence[DashboardLink] = ()
    height: int = 8


def dress(panel: P, about: About, targets: Sequence[Dataquery]) -> P:
    """Give a panel what it has in common with all others."""
    steps = [dashboard.Threshold(value, colour) for value, colour in about.steps]
    panel.title(about.title).description(about.meaning).datasource(DATASOURCE)
    panel.span(about.width).height(about.height).unit(about.unit).no_value(about.no_data)
    panel.links(list(about.links)).targets(list(targets))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if about.names:
        panel.mappings(mappings(about.names))
    return panel


def mappings(names: Names) -> list[dashboard.ValueMapping]:
    """Words and colours for values, as Grafana has them."""
    results = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(names.items())
    }
    return [dashboard.ValueMap(results)]


def asking(query: str, number: int = 0) -> Dataquery:
    """A query of Prometheus, the `number`th of its panel."""
    return Dataquery().expr(query).ref_id(REF_IDS[number]).datasource(DATASOURCE)
