"""A metrics page in Prometheus' text format, or in OpenMetrics, as the scraper asks.

prometheus_client's own writers take twice the time of the rest of a scrape (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portwatch.agent.metrics.families import Metric


@dataclass(frozen=True, slots=True)
class Format:
    """How a page is written."""

    content_type: str
    is_openmetrics: bool


TEXT_FORMAT = Format("text/plain; version=0.0.4; charset=utf-8", False)
OPENMETRICS_FORMAT = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", True)
OPENMETRICS_VERSIONS = ("", "1.0.0")


def choose_format(accept: str) -> Format:
    """The format that an Accept header prefers; text where it says nothing that is known."""
    best, chosen = 0.0, TEXT_FORMAT
    for item in accept.split(","):
        kind, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.partition("=")[::2] for part in rest)
        weight = _weight(parameters.get("q", "1"))
        if weight <= best:
            continue
        version = parameters.get("version", "").strip('"')
        if kind == "application/openmetrics-text" and version in OPENMETRICS_VERSIONS:
            best, chosen = weight, OPENMETRICS_FORMAT
        elif kind in ("text/plain", "text/*", "*/*"):
            best, chosen = weight, TEXT_FORMAT
    return chosen


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for item in accept_encoding.split(","):
        coding, _, weight = (part.strip() for part in item.partition(";"))
        if coding == "gzip":
            return _weight(weight.removeprefix("q=") or "1") > 0
    return False


def write_page(families: Iterable[Metric], page_format: Format) -> bytes:
    """The whole page."""
    lines = [line for family in families for line in _lines(family, page_format.is_openmetrics)]
    if page_format.is_openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _lines(family: Metric, is_openmetrics: bool) -> Iterator[str]:
    """OpenMetrics names a counter's family without its `_total`, and escapes quotes in HELP."""
    name = family.name
    if family.type == "counter" and not is_openmetrics:
        name += "_total"
    text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        text = text.replace('"', r"\"")
    yield f"# HELP {name} {text}\n# TYPE {name} {family.type}\n"
    for sample in family.samples:
        value = repr(float(sample.value))
        if sample.labels:
            pairs = [f'{key}="{_escaped(text)}"' for key, text in sample.labels.items()]
            yield f"{sample.name}{{{','.join(pairs)}}} {value}\n"
        else:
            yield f"{sample.name} {value}\n"


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return text


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
