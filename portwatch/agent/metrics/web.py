"""The web server's metric: whether its configuration is what its files say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from portwatch.agent.metrics.families import Collector, GaugeMetricFamily, Metric


class Followed(Protocol):
    """A configuration that is read again when its files change."""

    successful: bool


class WebConfigCollector(Collector):
    """Registered only where there is a web configuration file."""

    def __init__(self, config: Followed) -> None:
        self._config = config

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        family = GaugeMetricFamily(
            "portwatch_web_config_last_load_successful",
            "Whether the web configuration in force is what its files say now.",
        )
        family.add_metric((), self._config.successful)
        yield family
