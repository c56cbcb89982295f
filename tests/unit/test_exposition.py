"""The metrics page as scrapers get it, read back by prometheus_client's own parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from portwatch.agent.metrics.exposition import (
    OPENMETRICS_FORMAT,
    TEXT_FORMAT,
    choose_format,
    takes_gzip,
    write_page,
)
from portwatch.agent.metrics.families import CounterMetricFamily, GaugeMetricFamily, Metric

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, "application/openmetrics-text"])
def test_prometheus_gets_openmetrics(accept: str) -> None:
    """What a real Prometheus sends, of Debian 12 and of today, is answered in OpenMetrics 1.0."""
    assert choose_format(accept) is OPENMETRICS_FORMAT


@pytest.mark.parametrize(
    "accept",
    [
        *(
            "",
            "*/*",
            BROWSER,
            "text/plain;version=0.0.4",
            ";;q=,",
            "application/openmetrics-text;q=0",
        ),
        "application/openmetrics-text;version=2.0.0",
        "text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5",
    ],
)
def test_everybody_else_gets_text(accept: str) -> None:
    """People, curl, versions that are not spoken, and who likes text better get text."""
    assert choose_format(accept) is TEXT_FORMAT


def test_gzip_is_for_who_takes_it() -> None:
    """Only who names gzip gets it, and not who refuses it."""
    assert takes_gzip("gzip") and takes_gzip("deflate, gzip;q=0.5")
    assert not any(map(takes_gzip, ("", "identity", "gzip;q=0", "gzip;q=x")))


def page_of(texts: list[str], value: float) -> list[Metric]:
    """A counter and a gauge whose labels and help are these texts."""
    counter = CounterMetricFamily("a_counter", texts[0], labels=("one", "two"))
    counter.add_metric((texts[1], texts[2]), value)
    gauge = GaugeMetricFamily("a_gauge", "A gauge.")
    gauge.add_metric((), -value)
    return [counter, gauge]


any_text = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\\"\n,{}='))


@given(st.lists(any_text, min_size=3, max_size=3), st.floats(0, 1e18))
def test_whatever_is_in_a_label_is_read_back(texts: list[str], value: float) -> None:
    """Quotes, backslashes, newlines and any letters in labels come out as they went in."""
    families = page_of(["Help.", *texts[1:]], value)
    text = write_page(families, TEXT_FORMAT).decode()
    modern = write_page(families, OPENMETRICS_FORMAT).decode()
    for read in (
        list(parser.text_string_to_metric_families(text)),
        list(openmetrics.text_string_to_metric_families(modern)),
    ):
        samples = [sample for family in read for sample in family.samples]
        assert [one.name for one in samples] == ["a_counter_total", "a_gauge"]
        assert samples[0].labels == {"one": texts[1], "two": texts[2]}
        assert [one.value for one in samples] == [value, -value]
        assert [family.type for family in read] == ["counter", "gauge"]


def test_help_is_read_back() -> None:
    """A help of several lines, with quotes and backslashes, is one line on the page."""
    said = 'One "line"\nand \\ another.'
    families = page_of([said, "a", "b"], 1)
    modern = write_page(families, OPENMETRICS_FORMAT).decode()
    assert next(openmetrics.text_string_to_metric_families(modern)).documentation == said
    text = write_page(families, TEXT_FORMAT).decode()
    assert next(parser.text_string_to_metric_families(text)).documentation == said
