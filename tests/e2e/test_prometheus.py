"""A real Prometheus beside the real agent: what the dashboard and the alerts ask has an answer, and
it is what the binds of the script make it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import committed_queries as committed
import expected_answers as expected
import pytest
from expected_answers import Between, series
from sandbox import temporary_sandbox
from watched import BY_BATCH, DENIED, LATER, RECORDED, Day, watched_day

HOUR = {"__range": "1h", "__interval": "1h", "__rate_interval": "1m"}
OF_THE_WHOLE_MACHINE = {"Time for each run of a hook/A", "Runs of the hooks/A"}
"""Some hooks see every process: of these panels only the series in question are compared."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """One day for all tests, which only ask."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        temporary_sandbox(folder) as sandbox,
        watched_day(sandbox, tmp_path_factory.mktemp("prometheus")) as day,
    ):
        yield day


@pytest.mark.parametrize("query", committed.panel_queries(), ids=lambda query: query.key)
def test_panel(day: Day, query: committed.PanelQuery) -> None:
    """Every query of the dashboard answers what the script knows to be right, and no more."""
    wanted = expected.on_panels(day)[query.key]
    answer = day.prometheus.query(committed.filled(query.text, **HOUR), day.at["first"])
    if query.key in OF_THE_WHOLE_MACHINE:
        answer = {labels: value for labels, value in answer.items() if labels in wanted}
    assert answer == wanted


def test_no_answer_is_of_a_panel_that_is_gone(day: Day) -> None:
    """The script's answers are those of the panels, one for each query."""
    keys = [query.key for query in committed.panel_queries()]
    assert sorted(expected.on_panels(day)) == sorted(keys)


def test_window_is_exact(day: Day) -> None:
    """Of a counter that was there before, the window's own violations are counted, to the one."""
    window = {**HOUR, "__range": f"{round((day.at['later'] - day.at['first']) * 1000)}ms"}
    (denied,) = (query for query in committed.panel_queries() if query.panel == "Denied")
    text = committed.filled(denied.text, **window)
    assert day.prometheus.query(text, day.at["later"]) == {series(): LATER}


def test_bars_add_up(day: Day) -> None:
    """Each bar counts its own interval: over the whole day they sum up to what happened."""
    (asked,) = (query for query in committed.panel_queries() if query.panel == "By constraint")
    text = committed.filled(asked.text, __interval="1s")
    span = {"start": day.began, "end": day.at["later"], "step": "1s"}
    drawn = day.prometheus.ask("query_range", query=text, **span)["result"]
    bars = {one["metric"]["constraint"]: [float(bar) for _, bar in one["values"]] for one in drawn}
    assert {name: sum(heights) for name, heights in bars.items()} == {
        "reserved": DENIED + BY_BATCH + LATER,
        "trial": RECORDED,
    }


def test_choice_narrows(day: Day) -> None:
    """Instance, workload and constraint, when chosen, are all that is counted."""
    asked = {query.panel: query.text for query in committed.panel_queries()}
    for panel, chosen, count in (
        ("Denied", {"workload": "batch"}, BY_BATCH),
        ("Denied", {"workload": "shop|batch", "constraint": "reserved"}, DENIED + BY_BATCH),
        ("Denied", {"constraint": "trial"}, 0),
        ("Recorded", {"workload": "shop", "constraint": "trial|reserved"}, RECORDED),
        ("Sockets against the policy", {"workload": "shop"}, 0),
    ):
        text = committed.filled(asked[panel], **HOUR, **chosen)
        assert day.prometheus.query(text, day.at["first"]) == {series(): count}, (panel, chosen)
        text = committed.filled(asked[panel], **HOUR, **chosen, instance="elsewhere")
        assert day.prometheus.query(text, day.at["first"]) == {}, "nothing is not 0"


def test_variables_offer_what_there_is(day: Day) -> None:
    """The dashboard's lists have the instance, the workloads and the constraints."""
    wanted = {
        "instance": [day.instance],
        "workload": ["batch", "other", "shop"],
        "constraint": ["other", "reserved", "trial"],
    }
    for name, values in wanted.items():
        text = committed.variables()[name]["query"]
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
        assert found, text
        asked = committed.filled(found[1])
        assert day.prometheus.ask(f"label/{found[2]}/values", **{"match[]": asked}) == values


@pytest.mark.parametrize("alert", list(committed.alerts()))
def test_alert(day: Day, alert: str) -> None:
    """Each alert's expression answers when what it is for has happened, with the right value."""
    text = committed.alerts()[alert]["expr"]
    if alert == "PortwatchPodsStale":  # promtool holds it: no API server is asked here
        assert day.prometheus.query(text, day.at["first"]) == {}
        return
    if alert in ("PortwatchTableNearlyFull", "PortwatchListenersUnseen"):
        # What would take a machine of 30,000 cgroups, or ten minutes: with another bound.
        lowered = re.sub(r"> [\d.]+", ">= 0", text)
        answer = day.prometheus.query(lowered, day.at["first"])
        agent = {"instance": day.instance, "job": "portwatch"}
        if alert == "PortwatchListenersUnseen":
            assert answer == {series(**agent): Between(0, 600)}
        else:
            full = expected.how_full(day.page)
            assert answer == {labels | series(**agent): value for labels, value in full.items()}
        assert day.prometheus.query(text, day.at["first"]) == {}
        return
    moment, wanted = expected.of_alerts(day)[alert]
    assert day.prometheus.query(text, day.at[moment]) == wanted
    if moment != "first":
        assert day.prometheus.query(text, day.at["first"]) == {}, "before anything was wrong"


def test_rules_are_evaluated(day: Day) -> None:
    """Prometheus takes every rule without an error, and those that wait for nothing fired."""
    groups = day.prometheus.ask("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    fired = day.prometheus.query(
        'count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))'
    )
    waiting_for_nothing = {name for name, rule in committed.alerts().items() if "for" not in rule}
    assert {dict(labels)["alertname"] for labels in fired} >= waiting_for_nothing


def test_page_is_lint_free(day: Day) -> None:
    """promtool finds nothing to say about the page."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=day.page,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_asked_for_is_on_the_page(day: Day) -> None:
    """Every metric that grafana/ and deploy/prometheus name is on the page, or Prometheus's own;
    those about an API server, which is not asked here, have a unit test."""
    there = set(re.findall(r"^(\w+)[{ ]", day.page, re.MULTILINE)) | committed.OF_PROMETHEUS
    texts = [query.text for query in committed.panel_queries()]
    texts += [rule["expr"] for rule in committed.alerts().values()]
    texts += [str(variable["query"]) for variable in committed.variables().values()]
    there |= set(re.findall(r"portwatch_kubernetes_\w+", " ".join(texts)))
    for text in texts:
        for group in re.findall(r'__name__=~"portwatch_\((.*?)\)"', text):
            assert {f"portwatch_{name}" for name in group.split("|")} <= there
        plain = re.sub(r'"[^"]*"', "", text)
        assert set(committed.OF_PORTWATCH.findall(plain)) <= there, text
        names = re.findall(r"\b([a-z_]+)\{", plain)
        assert set(names) <= there, text
