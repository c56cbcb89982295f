"""prometheus_client's families, registry and process metrics, without the rest of it.

The package as a whole imports an HTTP server, a push client, TLS and with it OpenSSL, which an
agent without TLS has no use for: 8 MiB. So its `__init__` is not run, and only here is it
imported from.
"""

from __future__ import annotations

import importlib.util
import sys

if "prometheus_client" not in sys.modules:
    spec = importlib.util.find_spec("prometheus_client")
    assert spec
    sys.modules["prometheus_client"] = importlib.util.module_from_spec(spec)

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

__all__ = [
    "Collector",
    "CollectorRegistry",
    "CounterMetricFamily",
    "GaugeMetricFamily",
    "Metric",
    "ProcessCollector",
]
