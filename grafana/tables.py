"""Tables, and the properties of their columns."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.about import RED, YELLOW, About, Names, asking, dress, mappings
from grafana.links import explain

VERDICTS: Names = {"denied": ("denied", RED), "recorded": ("recorded", YELLOW)}


def rows(about: About, *queries: str, order: Sequence[str], value: str) -> table.Panel:
    """A table: one row for each series, columns in `order`, the value's column called `value`,
    highest first. Labels keep their names, by which links refer to them."""
    targets = [
        asking(query, number).instant().format(PromQueryFormat.TABLE)
        for number, query in enumerate(queries)
    ]
    panel = dress(table.Panel(), about, targets)
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


def port_table(
    about: About, labels: Sequence[str], query: str, value: str, because: Sequence[str]
) -> table.Panel:
    """A table of ports by `labels`, where a click on one asks that row's agent for the explanation
    of the bind that the labels in `because` describe."""
    panel = rows(about, query, order=(*labels, "Value"), value=value)
    panel.override_by_name("Value", [named(value)])
    if "verdict" in labels:
        panel.override_by_name("verdict", [mapped(VERDICTS), COLOURED_CELL])
    panel.override_by_name("port", [explain(*because)])
    return panel


def named(name: str) -> DynamicConfigValue:
    """A property of a field: how its column is called."""
    return DynamicConfigValue("displayName", name)


def in_unit(unit: str) -> DynamicConfigValue:
    """A property of a field: its unit."""
    return DynamicConfigValue("unit", unit)


def mapped(names: Names) -> DynamicConfigValue:
    """A property of a field: words and colours for its values."""
    return DynamicConfigValue("mappings", mappings(names))


COLOURED_CELL = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
HIDDEN = DynamicConfigValue("custom.hidden", True)
