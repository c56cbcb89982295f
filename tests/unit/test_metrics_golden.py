"""The whole /metrics page, letter by letter: what it says is what dashboards and alerts rely on."""

from __future__ import annotations

import platform
from pathlib import Path

from metrics_page import known_collector
from prometheus_client import parser

from portwatch import __version__
from portwatch.agent.metrics.exposition import TEXT_FORMAT, write_page
from portwatch.agent.metrics.metrics import make_registry

GOLDEN = Path(__file__).with_name("metrics.prom")


def page() -> str:
    """The page of known counts, what differs from machine to machine made the same."""
    text = write_page(known_collector().collect(), TEXT_FORMAT).decode()
    for varying, name in (
        (platform.release(), "KERNEL"),
        (platform.python_version(), "PYTHON"),
        (__version__, "VERSION"),
    ):
        text = text.replace(f'="{varying}"', f'="{name}"')
    return text


def test_page_is_the_golden_one() -> None:
    """Each name, label, help and figure is as it was; where that is meant to change, write the new
    page with `python tests/unit/test_metrics_golden.py`, and look at the difference."""
    assert page() == GOLDEN.read_text()


def test_every_help_is_a_sentence() -> None:
    """Each family, those of the process too, says in a sentence what it counts."""
    registry = make_registry(known_collector())
    text = write_page(registry.collect(), TEXT_FORMAT).decode()
    families = list(parser.text_string_to_metric_families(text))
    assert any(family.name.startswith("process_") for family in families)
    for family in families:
        said = family.documentation
        assert said[0].isupper() and said.endswith(".") and len(said.split()) > 3, family.name


if __name__ == "__main__":
    GOLDEN.write_text(page())
