"""What the agent serves by HTTP: complete, parseable, honest."""

from __future__ import annotations

import gzip
import http.client
import re
import urllib.error
from urllib.parse import urlsplit

import pytest
from product import eventually
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
from sandbox import Sandbox, denying

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
GAUGES = {
    "portwatch_policy_info": {"sha256", "mode", "source"},
    "portwatch_policy_constraints": set(),
    "portwatch_policy_generation": set(),
    "portwatch_policy_last_load_successful": set(),
    "portwatch_policy_last_load_success_timestamp_seconds": set(),
    "portwatch_hook_attached": {"hook"},
    "portwatch_map_entries": {"map"},
    "portwatch_map_capacity": {"map"},
    "portwatch_enforcing": set(),
    "portwatch_uncovered": {"gap"},
    "portwatch_build_info": {"version"},
    "portwatch_listeners_last_survey_timestamp_seconds": set(),
}
COUNTERS = {
    "portwatch_binds_total": {"verdict", "protocol", "family"},
    "portwatch_violations_total": {"constraint", "verdict", "workload", "protocol", "port"},
    "portwatch_bind_collisions_total": {"workload", "protocol", "port"},
    "portwatch_events_total": {"kind"},
    "portwatch_events_lost_total": set(),
    "portwatch_events_suppressed_total": set(),
    "portwatch_hook_reattached_total": {"hook"},
    "portwatch_hook_runs_total": {"hook"},
    "portwatch_hook_run_seconds_total": {"hook"},
    "process_cpu_seconds_total": set(),
}


@pytest.mark.parametrize("flavour", ["text", "openmetrics"])
def test_page_is_complete(shared: Sandbox, flavour: str) -> None:
    """Every metric of the contract is there with its labels and a sentence of help, in both
    formats, and each series once."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    binder = shared.binder()
    assert binder.bind(9001) == "EACCES"
    assert [binder.bind(9002, hold=True), binder.bind(9002)] == ["ok", "EADDRINUSE"]
    if flavour == "text":
        body, headers = agent.page("/metrics")
        families = list(parser.text_string_to_metric_families(body.decode()))
        assert headers["Content-Type"].startswith("text/plain")
    else:
        body, headers = agent.page("/metrics", Accept=OPENMETRICS)
        families = list(openmetrics.text_string_to_metric_families(body.decode()))
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
    samples = [sample for family in families for sample in family.samples]
    labels = {sample.name: set(sample.labels) for sample in samples}
    for name, wanted in (GAUGES | COUNTERS).items():
        assert name in labels, name
        assert labels[name] >= wanted, name
    series = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(series) == len(set(series))
    for family in families:
        if family.name.startswith("portwatch"):
            assert family.documentation.endswith("."), family.name
            is_counter = f"{family.name}_total" in labels
            assert not family.samples or family.type == ("counter" if is_counter else "gauge")
    forbidden = {"pid", "address", "cmdline", "cgroup", "uid"}
    assert not any(forbidden & names for names in labels.values())


def test_exactly_what_happened(shared: Sandbox) -> None:
    """23 denied and 17 allowed binds are 23 and 17, by protocol, family, port and workload."""
    policy = shared.policy(denying("9001/tcp", "9002/udp"))
    agent = shared.agent(policy, "--keep", "--max-series", 50_000)
    before = {
        (verdict, protocol, family): agent.metric(
            "portwatch_binds_total", verdict=verdict, protocol=protocol, family=family
        )
        for verdict in ("allowed", "denied", "recorded")
        for protocol in ("tcp", "udp", "udplite", "mptcp", "sctp")
        for family in ("ipv4", "ipv6")
    }
    binder = shared.binder()
    assert [binder.bind(9001) for _ in range(12)] == ["EACCES"] * 12
    assert [binder.bind(9002, "::1", protocol="udp") for _ in range(11)] == ["EACCES"] * 11
    assert [binder.bind(9001, protocol="udp") for _ in range(17)] == ["ok"] * 17
    wanted = {("denied", "tcp", "ipv4"): 12, ("denied", "udp", "ipv6"): 11}
    wanted["allowed", "udp", "ipv4"] = 17
    for (verdict, protocol, family), count in before.items():
        now = agent.metric(
            "portwatch_binds_total", verdict=verdict, protocol=protocol, family=family
        )
        assert now - count == wanted.get((verdict, protocol, family), 0)
    of_workload = {"workload": shared.path, "verdict": "denied"}
    total = "portwatch_violations_total"
    assert agent.metric(total, port="9001", protocol="tcp", **of_workload) == 12
    assert agent.metric(total, port="9002", protocol="udp", **of_workload) == 11
    assert agent.metric(total, **of_workload) == 23


def test_max_series_folds_the_rest(shared: Sandbox) -> None:
    """Past `--max-series` violations are counted under `other`, and the sum stays exact."""
    agent = shared.agent(shared.policy(denying("30000-30099")), "--keep", "--max-series", 10)
    before = agent.metric("portwatch_violations_total")
    binder = shared.binder()
    assert {binder.bind(30000 + n) for n in range(100)} == {"EACCES"}
    assert agent.metric("portwatch_violations_total") == before + 100
    body = agent.page("/metrics")[0].decode()
    series = re.findall(r"^portwatch_violations_total\{(.*)\}", body, re.MULTILINE)
    assert len([labels for labels in series if 'constraint="other"' not in labels]) <= 10
    assert agent.metric("portwatch_violations_total", constraint="other", port="other") >= 90


def test_gzip(shared: Sandbox) -> None:
    """A scraper that takes gzip gets it, with the same metrics inside."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    body, headers = agent.page("/metrics", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert b"portwatch_enforcing 1.0\n" in gzip.decompress(body)


def test_health_ready_and_landing_page(shared: Sandbox) -> None:
    """/healthz, /readyz and / answer; what is not there is 404, what is not a read is 405."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    assert agent.page("/healthz")[0] == b"alive\n"
    assert agent.page("/readyz")[0] == b"ready\n"
    landing, headers = agent.page("/")
    assert headers["Content-Type"].startswith("text/html")
    for link in (b"/metrics", b"/healthz", b"/readyz"):
        assert b'href="' + link + b'"' in landing
    with pytest.raises(urllib.error.HTTPError) as missing:
        agent.page("/metrics/../etc/passwd")
    assert missing.value.code == 404
    missing.value.close()
    connection = http.client.HTTPConnection(urlsplit(agent.url).netloc, timeout=5)
    for method, status in (("POST", 405), ("DELETE", 405), ("HEAD", 200)):
        connection.request(method, "/healthz", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, method
        connection.close()
    assert agent.page("/healthz")[0] == b"alive\n", "after a 405 too"


def test_silent_client_holds_up_nobody(shared: Sandbox) -> None:
    """Twenty clients that connect and say nothing keep no scraper waiting, nor the end."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep")
    silent = [http.client.HTTPConnection(urlsplit(agent.url).netloc) for _ in range(20)]
    for connection in silent:
        connection.connect()
    assert b"portwatch_enforcing" in agent.page("/metrics")[0]
    assert agent.end() == 0
    for connection in silent:
        connection.close()


def test_events_are_counted_by_kind(shared: Sandbox) -> None:
    """portwatch_events_total is there for every kind from the start and counts what is told."""
    agent = shared.agent(shared.policy(denying("31000-31009")), "--keep")
    for kind in ("violation", "collision", "listener", "lost"):
        assert f'portwatch_events_total{{kind="{kind}"}}' in agent.page("/metrics")[0].decode()
    binder = shared.binder()
    assert {binder.bind(31000 + n) for n in range(10)} == {"EACCES"}
    eventually(lambda: len(agent.violations()) == 10)
    told = sum(event["kind"] == "violation" for event in agent.events)
    assert agent.metric("portwatch_events_total", kind="violation") == told
    assert agent.metric("portwatch_events_total", kind="policy") == 1
