"""Panels in the house's form: each with a description, a unit and what to show without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.variables import DATASOURCE

REF_IDS = ascii_uppercase
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on, which colour; the first one from None on."""

GOOD_AT_ZERO: Steps = ((None, GREEN), (1, RED))
PLAIN: Steps = ((None, BLUE),)


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
    names: dict[str, tuple[str, str]] | None = None
    links: Sequence[DashboardLink] = ()
    height: int = 8


AnyPanel = stat.Panel | timeseries.Panel | bargauge.Panel | statetimeline.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, statetimeline.Panel, table.Panel)
Legend = tuple[str, str]
"""A legend, in which `{{label}}` is the series' own, and its query."""


def number(about: About, query: str) -> stat.Panel:
    """One number, coloured by its thresholds."""
    panel = stat.Panel().color_mode(BigValueColorMode.BACKGROUND).graph_mode(BigValueGraphMode.NONE)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return _common(panel, about, [_query(query).instant()])


def lines(about: About, *queries: Legend) -> timeseries.Panel:
    """Lines over time."""
    return _graph(timeseries.Panel().fill_opacity(10), about, queries)


def bars(about: About, *queries: Legend) -> timeseries.Panel:
    """Stacked bars, each the count of its interval."""
    panel = timeseries.Panel().draw_style(GraphDrawStyle.BARS).fill_opacity(80).decimals(0)
    panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    return _graph(panel, about, queries)


def ranking(about: About, query: str, legend: str) -> bargauge.Panel:
    """Horizontal bars, one for each series."""
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).min(0)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return _common(panel, about, [_query(query).instant().legend_format(legend)])


def states(about: About, query: str, legend: str) -> statetimeline.Panel:
    """A state over time for each series."""
    return _common(statetimeline.Panel(), about, [_query(query).range().legend_format(legend)])


def rows(about: About, *queries: str, order: Sequence[str], value: str) -> table.Panel:
    """A table: one row for each series, columns in `order`, the value's column called `value`,
    highest first. Labels keep their names, by which links refer to them."""
    targets = [
        _query(query).instant().format(PromQueryFormat.TABLE).ref_id(REF_IDS[number])
        for number, query in enumerate(queries)
    ]
    panel = _common(table.Panel(), about, targets)
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(order)},
            },
        )
    )
    panel.sort_by([TableSortByFieldState().display_name(value).desc(True)])
    return panel


def named(name: str) -> DynamicConfigValue:
    """A property of a field: how its column is called."""
    return DynamicConfigValue("displayName", name)


def in_unit(unit: str) -> DynamicConfigValue:
    """A property of a field: its unit."""
    return DynamicConfigValue("unit", unit)


def mapped(names: dict[str, tuple[str, str]]) -> DynamicConfigValue:
    """A property of a field: words and colours for its values."""
    return DynamicConfigValue("mappings", _mappings(names))


COLOURED_CELL = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
HIDDEN = DynamicConfigValue("custom.hidden", True)


def _graph(panel: timeseries.Panel, about: About, queries: Sequence[Legend]) -> timeseries.Panel:
    panel.min(0)
    panel.legend(
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    targets = [
        _query(query).range().legend_format(legend).ref_id(REF_IDS[number])
        for number, (legend, query) in enumerate(queries)
    ]
    return _common(panel, about, targets)


def _common(panel: P, about: About, targets: Sequence[Dataquery]) -> P:
    steps = [dashboard.Threshold(value, colour) for value, colour in about.steps]
    panel.title(about.title).description(about.meaning).datasource(DATASOURCE)
    panel.span(about.width).height(about.height).unit(about.unit).no_value(about.no_data)
    panel.links(list(about.links)).targets(list(targets))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if about.names:
        panel.mappings(_mappings(about.names))
    return panel


def _mappings(names: dict[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    results = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(names.items())
    }
    return [dashboard.ValueMap(results)]


def _query(query: str) -> Dataquery:
    return Dataquery().expr(query).ref_id("A").datasource(DATASOURCE)
