"""The landing page and /explain of a real agent, in a real browser."""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import page_checks
import pytest
from browser import Browser, running_browser
from page_views import landing_of, view_of, violation
from product import AgentProcess, eventually
from sandbox import Sandbox, denying, temporary_sandbox

POLICY = """
version: 1
mode: enforce
define:
  workloads:
    shop: {{cgroup: "{home}/shop"}}
constraints:
  - {{name: no-etcd, deny: ["2379-2380/tcp"], except: {{unit: etcd.service}}, reason: not <yours>}}
  - {{name: shop, for: shop, allow: ["8000-8099/tcp"]}}
  - {{name: known-only, mode: record, deny: ["100-199/udp"]}}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages."""
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with three workloads, two of which have listeners and violations."""
    with temporary_sandbox(tmp_path_factory.mktemp("at-work")) as sandbox:
        yield _put_to_work(sandbox)


def _put_to_work(sandbox: Sandbox) -> AgentProcess:
    agent = sandbox.agent(sandbox.policy(POLICY.format(home=sandbox.path)))
    shop, other = sandbox.binder(sandbox.make("shop")), sandbox.binder(sandbox.make("<i>x"))
    assert [shop.bind(8080, hold=True, listen=True), shop.bind(9000)] == ["ok", "EACCES"]
    assert [other.bind(2379), other.bind(150, protocol="udp", hold=True)] == ["EACCES", "ok"]
    agent.process.send_signal(1)  # what listens is looked at again
    eventually(lambda: agent.metric("portwatch_listeners", workload="shop", port="8080") == 1, 20)
    return agent


def assert_sound(browser: Browser) -> None:
    """Nothing sticks out, complains, lacks a name, or is hard to read; in both colours."""
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            browser.screen(width, scheme=scheme)
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.ask(page_checks.LOW_CONTRAST) == [], scheme
    assert browser.ask(page_checks.NAMELESS) == []
    assert browser.ask(page_checks.STRUCTURE) == []
    assert browser.console == []


def caption_at(browser: Browser, workload: str, lane: str, port: int) -> str:
    """The tooltip there."""
    asked = ", ".join(json.dumps(one) for one in (workload, lane, port))
    return str(browser.ask(f"{page_checks.CAPTION_AT}({asked})"))


def test_three_workloads(at_work: AgentProcess, browser: Browser) -> None:
    """What is drawn at a port is what the policy says of it, with constraint, reason and owner; a
    listener and a violation stand at their ports; and the page is sound."""
    browser.screen(1280)
    browser.open(at_work.url + "/")
    assert browser.ask("document.querySelector('h1').textContent") == "Enforcing"
    other = f"{at_work.home}/<i>x"
    told = caption_at(browser, other, ".lane.tcp", 2379)
    assert told.startswith("2379–2380/tcp: denied with EACCES, by no-etcd: not <yours>")
    assert "kept for unit etcd.service; catalog:etcd" in told
    assert caption_at(browser, other, ".lane.tcp", 20000) == "2381–65535/tcp: allowed"
    assert "recorded, and goes through, by known-only" in caption_at(
        browser, other, ".lane.udp", 150
    )
    assert "denied with EACCES, by shop" in caption_at(browser, "shop", ".lane.tcp", 9000)
    assert "8000–8099/tcp: allowed" in caption_at(browser, "shop", ".lane.tcp", 8050)
    assert "8080/tcp listens on loopback: allowed" in caption_at(
        browser, "shop", ".mark.listener", 8080
    )
    assert "9000/tcp: denied 1× by shop" in caption_at(browser, "shop", ".mark.violation", 9000)
    assert "2379/tcp: denied 1× by no-etcd" in caption_at(browser, other, ".mark.violation", 2379)
    assert_sound(browser)


def test_the_same_without_javascript(at_work: AgentProcess, browser: Browser) -> None:
    """With scripts turned off the browser builds the very same document."""
    pages = []
    for allowed in (True, False):
        browser.scripts(allowed)
        browser.open(at_work.url + "/?workload=shop")
        pages.append(re.sub(r"\d+&nbsp;(s|min)&nbsp;ago", "", browser.dom()))
    browser.scripts(True)
    assert pages[0] == pages[1]
    assert pages[0].count('class="strip"') == 1


def test_dark_is_dark(at_work: AgentProcess, browser: Browser) -> None:
    """The page follows what the user prefers."""
    seen = []
    browser.open(at_work.url + "/")
    for scheme in ("light", "dark"):
        browser.screen(800, scheme=scheme)
        ground = browser.ask("getComputedStyle(document.body).backgroundColor")
        seen.append(sum(map(int, re.findall(r"\d+", ground)[:3])))
    assert seen[0] > 600
    assert seen[1] < 150


def test_nobody(shared: Sandbox, browser: Browser) -> None:
    """With no workload in the policy, and none that listens or violates, the page says so."""
    agent = shared.agent(shared.policy(denying(9)), "--keep")
    browser.open(agent.url + "/?workload=everybody+else")
    text = browser.ask("document.body.innerText")
    assert "None has been counted." in text
    assert browser.ask("document.querySelectorAll('.strip').length") == 1
    assert_sound(browser)


def test_two_hundred_workloads(tmp_path: Path, browser: Browser) -> None:
    """With two hundred workloads the page is sound and short: most of them are folded."""
    names = [f"/system.slice/workload-{number:03d}.service" for number in range(200)]
    policy = denying(2379, mode="enforce")
    violations = tuple(violation(name, 2379 + n) for n, name in enumerate(names))
    listeners = tuple(((name, "tcp", "8080", "loopback", "denied"), 1) for name in names)
    view = view_of(policy, names, violations=violations, listeners=listeners)
    page = tmp_path / "page.html"
    page.write_bytes(landing_of(view).body)
    browser.screen(1280)
    browser.open(page.as_uri())
    assert browser.ask("document.documentElement.scrollHeight") < 6000
    assert browser.ask("document.querySelectorAll('details:not([open]) .strip').length") > 20
    assert_sound(browser)


def test_explanation(at_work: AgentProcess, browser: Browser) -> None:
    """A violation's link leads to its explanation, which says what `portwatch explain` says."""
    browser.screen(1280)
    browser.open(at_work.url + "/?workload=shop")
    of_port = "a[href^='/explain'][href*='port=9000']"
    link = browser.ask(f'document.querySelector("{of_port}").getAttribute("href")')
    browser.open(at_work.url + link)
    assert browser.ask("document.querySelector('h1').textContent") == "May shop bind 9000/tcp?"
    text = browser.ask("document.body.innerText")
    assert "bind() fails with EACCES by shop" in text
    assert "8000-8099" in text
    assert_sound(browser)
    facts = json.loads(at_work.page(link + "&format=json")[0])
    assert (facts["verdict"], facts["constraint"]) == ("denied", "shop")
    assert facts["steps"][-1]["why"] == "denies: in neither list; otherwise: deny"


def test_as_it_runs(shared: Sandbox) -> None:
    """/explain judges a workload by who its first process is, and in its network, unless another
    is asked for."""
    text = (
        "version: 1\nmode: enforce\nconstraints:\n"
        "  - {name: host-only, network: host, deny: [5000]}\n"
    )
    agent = shared.agent(shared.policy(text), "--keep")
    shared.binder()  # in a network namespace of its own
    asked = f"/explain?workload={shared.path}&protocol=tcp&port=5000&format=json"
    assert json.loads(agent.page(asked)[0])["verdict"] == "allowed"
    assert json.loads(agent.page(asked + "&network=host")[0])["verdict"] == "denied"


def test_unknown_workload(at_work: AgentProcess) -> None:
    """404 with the nearest names."""
    with pytest.raises(urllib.error.HTTPError) as missing:
        at_work.page("/explain?workload=shopp&port=80&format=json")
    with missing.value as answer:
        assert answer.code == 404
        assert json.load(answer)["nearest"] == ["shop"]


def test_refused_policy(shared: Sandbox) -> None:
    """A bad policy is on the page with its errors until a good one is loaded."""
    agent = shared.agent(shared.policy(denying(9)), "--keep")
    shared.policy("version: 1\nmode: maybe\n")
    eventually(lambda: b"a policy was refused" in agent.page("/")[0], 10)
    assert b"policy.yaml:2:7: " in agent.page("/")[0]
    shared.policy(denying(10))
    eventually(lambda: b"a policy was refused" not in agent.page("/")[0], 10)


def test_no_process_and_no_address(at_work: AgentProcess) -> None:
    """Neither page tells who looks at it a pid, a command line or an address that is bound."""
    for path in ("/", "/explain?workload=shop&port=9000", "/explain?workload=shop&port=8080"):
        page = re.sub(r"<style>.*?</style>", "", at_work.page(path)[0].decode(), flags=re.S)
        assert "binder_process" not in page
        assert "python" not in page
        assert "127.0.0.1" not in page
