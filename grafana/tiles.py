"""Tiles: one number each, coloured by its thresholds."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode

from grafana.about import GREEN, PLAIN, RED, YELLOW, About, Names, Steps, asking, dress
from grafana.links import runbook

BAD_FROM_ONE: Steps = ((None, GREEN), (1, RED))
ODD_FROM_ONE: Steps = ((None, GREEN), (1, YELLOW))


def tile(
    title: str,
    meaning: str,
    query: str,
    alert: str = "",
    *,
    unit: str = "none",
    steps: Steps = PLAIN,
    names: Names | None = None,
    height: int = 4,
) -> stat.Panel:
    """A sixth of the width; leads to the runbook of its `alert`."""
    links = [runbook(alert)] if alert else []
    about = About(4, title, meaning, unit, steps=steps, names=names, links=links, height=height)
    panel = stat.Panel().color_mode(BigValueColorMode.BACKGROUND).graph_mode(BigValueGraphMode.NONE)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return dress(panel, about, [asking(query).instant()])
