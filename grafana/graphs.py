"""Graphs: lines and bars over time, states over time, rankings."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import bargauge, statetimeline, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import FieldColorModeId

from grafana.about import About, asking, dress

Legend = tuple[str, str]
"""A legend, in which `{{label}}` is the series' own, and its query."""


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
    return dress(panel, about, [asking(query).instant().legend_format(legend)])


def states(about: About, query: str, legend: str) -> statetimeline.Panel:
    """A state over time for each series."""
    return dress(statetimeline.Panel(), about, [asking(query).range().legend_format(legend)])


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
        asking(query, number).range().legend_format(legend)
        for number, (legend, query) in enumerate(queries)
    ]
    return dress(panel, about, targets)
