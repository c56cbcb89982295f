"""/explain: the reference's answer, as a page and for machines."""

from __future__ import annotations

import json
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from page_views import view_of, violation

from portwatch.agent.web.answer import Answer
from portwatch.agent.web.explanation import explanation
from portwatch.agent.web.view import View
from portwatch.agent.web.whose import Meant
from portwatch.node.accounts import AccountTable
from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.words.addresses import Address
from portwatch.policy.workload import Subject

POLICY = """
version: 1
mode: enforce
define:
  workloads:
    shop: {unit: "shop-*.service"}
    ci: {user: ci}
constraints:
  - {name: no-etcd, except: {unit: etcd.service}, deny: ["2379-2380/tcp"], reason: not yours}
  - {name: ci, for: ci, allow: [7000/tcp]}
  - {name: shop, for: shop, addresses: [loopback, 10.1.0.0/16], allow: [8000-8099/tcp]}
  - {name: host-only, network: host, deny: [5000/tcp]}
"""
VIEW = view_of(POLICY, ["/system.slice/shop-api.service"], AccountTable({"ci": 1005}, {}))


def as_named(meant: Meant, host_network: bool | None) -> Meant:
    """Nothing runs: a subject stays what its name says."""
    return (
        meant
        if host_network is None
        else replace(meant, subject=replace(meant.subject, host_network=host_network))
    )


def ask(view: View = VIEW, **query: str) -> Answer:
    """The answer to a URL."""
    return explanation(view, as_named, query)


def facts_of(**query: str) -> dict[str, Any]:
    """The same for machines."""
    answer = ask(format="json", **query)
    assert answer.content_type == "application/json"
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.mark.parametrize(
    ("workload", "subject"),
    [
        ("shop", Subject("/system.slice/shop-x.service")),
        ("ci", Subject("/", 1005, 0, "ci", "root")),
        ("/system.slice/shop-api.service", Subject("/system.slice/shop-api.service")),
        ("/anywhere", Subject("/anywhere")),
        ("everybody else", Subject("/", 65534, 65534)),
    ],
)
@pytest.mark.parametrize("port", [2379, 7000, 8080, 5000, 1])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_answer_is_the_reference_s(
    workload: str, subject: Subject, port: int, protocol: str
) -> None:
    """A defined workload, a cgroup and anybody else get the verdict of decide(), with its
    constraint, errno and reason."""
    address = "127.0.0.1" if port == 8080 else "0.0.0.0"
    facts = facts_of(workload=workload, protocol=protocol, port=str(port), address=address)
    endpoint = Endpoint(protocol, port, Address.parse(address))
    decision = decide(VIEW.in_force.policy, subject, endpoint)  # type: ignore[union-attr]
    told = {key: facts.get(key) for key in ("verdict", "constraint", "errno", "reason")}
    assert told == vars(decision)
    assert facts["steps"][-1]["why"]


def test_network_is_as_asked() -> None:
    """A constraint for the host's network speaks with `network=host`, and not with another."""
    asked = {"workload": "/x", "port": "5000"}
    assert facts_of(**asked, network="host")["verdict"] == "denied"
    assert facts_of(**asked, network="other")["verdict"] == "allowed"


def test_page_says_what_to_do() -> None:
    """The page has the question, the verdict, each constraint, whose the port is and what the
    workload may have; the constraint that was asked about is pointed out."""
    page = ask(workload="shop", port="2379", constraint="no-etcd").body.decode()
    assert "<bdi>shop</bdi> bind 2379/tcp?" in page
    assert "<strong>Denied</strong>" in page
    assert "bind() fails with EACCES by <b>no-etcd</b>: not yours" in page
    assert 'value="1" class="asked"><b>no-etcd</b>: denies: 2379/tcp is in its deny list' in page
    assert "kept for unit etcd.service by no-etcd (policy.yaml:9)" in page
    assert "catalog:etcd" in page
    assert "<b>loopback, addresses that the policy lists</b>: 8000-8099" in page


def test_who_takes_what_comes_in_for_the_port() -> None:
    """Where a bind would be in vain because of a NAT rule of the host's network, both answers name
    its source, and no address."""
    spans = (
        (1, "tcp", 4, "", 8000, 8080, "docker"),
        (1, "tcp", 4, "10.1.2.3", 8080, 8080, "podman"),
        (1, "tcp", 6, "2001:db8::7", 8080, 8080, "kube-proxy"),
        (1, "udp", 4, "", 8080, 8080, "nat"),
    )
    view = replace(VIEW, published=spans)

    def told(port: str = "8080", **more: str) -> list[str]:
        asked = {"workload": "shop", "protocol": "tcp", "port": port, **more}
        page = ask(view, **asked).body.decode()
        facts = json.loads(ask(view, format="json", **asked).body).get("published", [])
        sources = [source for *_, source in spans if f"taken: NAT by {source} sends" in page]
        assert facts == [{"source": source} for source in sources]
        assert "10.1.2.3" not in page and "2001:db8::7" not in page
        return sources

    assert told() == ["docker", "podman"]
    assert told(address="::") == ["docker", "podman", "kube-proxy"]
    assert told(address="10.9.9.9") == ["docker"]
    assert told(address="::/v6only") == ["kube-proxy"]
    assert told(port="8079") == ["docker"]
    assert told(protocol="udp") == ["nat"]
    assert told(address="127.0.0.1") == told(port="8081") == told(port="ephemeral") == []
    assert told(network="other") == []


def test_no_address_of_the_policy_is_shown() -> None:
    """Addresses that the policy names are nobody's business who looks at the page."""
    for address in ("0.0.0.0", "127.0.0.1", "10.1.2.3"):
        for form in ("json", "html"):
            answer = ask(workload="shop", port="8080", address=address, format=form)
            assert b"10.1.0.0" not in answer.body


@pytest.mark.parametrize(
    "name", ["pod:0b4f1d0e-8f0e-4d8a-9d6c-0d1f0a7b2c3d", "docker:web", "old.service", "a b/c"]
)
def test_who_has_gone_is_explained_still(name: str) -> None:
    """Whoever is counted has an explanation when nothing of it runs any more, which says so."""
    view = replace(VIEW, violations=(violation(name, 2379),))
    answer = ask(view, workload=name, port="2379", format="json")
    facts = json.loads(answer.body)
    assert answer.status is HTTPStatus.OK
    assert facts["verdict"] == "denied"
    assert "any more" in facts["note"] or "none runs here now" in facts["note"]


def test_unknown_workload_is_not_found() -> None:
    """404, with the names that are nearest, each leading to its explanation of the same port."""
    answer = ask(workload="shopp", port="80")
    assert answer.status is HTTPStatus.NOT_FOUND
    assert b'href="/explain?workload=shop&amp;protocol=tcp&amp;port=80"' in answer.body
    assert facts_of(workload="shopp", port="80")["nearest"] == ["shop"]
    assert ask(workload="<script>", port="80").body.count(b"<script>") == 0


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({}, 400, "ay whose bind: /explain?workload=NAME"),
        ({"workload": "shop"}, 400, "is no port"),
        ({"workload": "shop", "port": "0x50"}, 400, "is no port"),
        ({"workload": "shop", "port": "65536"}, 400, "is no port"),
        ({"workload": "shop", "port": "\u0665"}, 400, "is no port"),
        ({"workload": "shop", "port": "other"}, 400, "--max-series"),
        ({"workload": "shop", "port": "1", "protocol": "icmp"}, 400, "is no protocol"),
        ({"workload": "shop", "port": "1", "address": "::1%lo"}, 400, "is no IP address"),
        ({"workload": "other", "port": "1"}, 404, "past a bound"),
    ],
)
def test_what_makes_no_sense_is_said(query: dict[str, str], status: int, said: str) -> None:
    """A bad question gets a sentence that says what is wrong with it, in either form."""
    for form in ("html", "json"):
        answer = ask(**query, format=form)
        assert answer.status.value == status
        assert said in answer.body.decode()


@pytest.mark.parametrize("port", ["ephemeral", "0"])
def test_a_port_that_the_kernel_picks(port: str) -> None:
    """A bind to port 0 is explained by either of its names."""
    facts = facts_of(workload="shop", port=port)
    assert (facts["port"], facts["verdict"]) == ("ephemeral", "allowed")
    assert b"ephemeral/tcp" in ask(workload="shop", port=port).body


def test_many_constraints_are_folded() -> None:
    """Of a thousand constraints those that speak are in sight, the others folded."""
    constraints = "".join(
        f"  - {{name: c{n}, for: {{unit: u{n}.service}}, deny: [80]}}\n" for n in range(1000)
    )
    view = view_of(f"version: 1\nmode: enforce\nconstraints:\n{constraints}")
    page = ask(view, workload="/system.slice/u700.service", port="80", constraint="c5").body
    assert b"<summary>694 constraints that say nothing of it, the first 200" in page
    assert b'value="6" class="skip-step asked"' in page
    assert b'<li value="701"><b>c700</b>: denies' in page
    assert len(page) < 200_000


def test_no_policy_yet() -> None:
    """Before a policy is in force there is nothing to explain, and that is said."""
    answer = ask(replace(VIEW, in_force=None), workload="shop", port="80")
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert b"No policy is in force yet." in answer.body
