"""The landing page as it is made: what it says, and what nobody can make it say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from http import HTTPStatus

import pytest
from page_views import landing_of, view_of, violation

from portwatch.agent.state import Refusal
from portwatch.agent.web.guardrail import guardrail
from portwatch.agent.web.view import Resident, View
from portwatch.kernel.names import cut

ENFORCED = (
    "version: 1\nmode: enforce\nconstraints:\n"
    "  - {name: no-etcd, except: {unit: etcd.service}, deny: ['2379-2380'], reason: not yours}\n"
)
RECORDED = ENFORCED.replace("enforce", "record")
HOSTILE = (
    "<script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='\"",
    "</title></style><img src=x onerror=alert(1)>",
    "a\x00b\x1b[31mred",
    "evil\u202egpj.exe",
    "&lt;b&gt;",
    "n" * 10_000,
    "javascript:alert(1)",
)


class _Reader(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page.decode())
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "link", "input", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def crowded(count: int, policy: str = ENFORCED) -> View:
    """One of so many workloads that all violate and listen."""
    names = [f"/system.slice/workload-{number:03d}.service" for number in range(count)]
    listeners = tuple(((name, "tcp", "8080", "loopback", "allowed"), 2) for name in names)
    violations = tuple(violation(name, 2379) for name in names)
    kinds = len(violations)
    return view_of(policy, names, listeners=listeners, violations=violations, violation_kinds=kinds)


@pytest.mark.parametrize(
    ("view", "word", "sentence"),
    [
        (view_of(ENFORCED), "Enforcing", "A bind that breaks the policy is refused."),
        (view_of(RECORDED), "Recording", "Nothing is refused"),
        (view_of("version: 1\nmode: enforce\n"), "NOT enforcing", "has no constraints"),
        (replace(view_of(ENFORCED), in_force=None), "NOT enforcing", "no policy is in force"),
        (view_of(ENFORCED, missing_hooks=("bind4",)), "NOT enforcing", "bind4 is not attached"),
        (
            view_of(ENFORCED, missing_hooks=("bind4", "bind6")),
            "NOT enforcing",
            "bind4, bind6 are not attached",
        ),
    ],
)
def test_is_the_guardrail_up(view: View, word: str, sentence: str) -> None:
    """The first heading says how it stands, and the sentence after it what that means."""
    assert guardrail(view).word == word
    page = landing_of(view).body.decode()
    assert f"</span>{word}</h1>" in page
    assert sentence in page
    assert f"<title>{word} · portwatch</title>" in page


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_no_name_is_markup(name: str) -> None:
    """Whatever a workload is called, the page has the elements that it has with a plain name, no
    handler, no control or bidirectional character, and stays small."""
    answers = {}
    for called in ("plain", cut(name)):
        listeners = (((called, "tcp", "80", "wildcard", "denied"), 1),)
        violations = (violation(called, 2379), violation(called, None, constraint=called))
        view = view_of(
            ENFORCED,
            residents=(),
            listeners=listeners,
            violations=violations,
            refusal=Refusal(1050.0, (name,)),
        )
        view = replace(view, residents={called: Resident("/system.slice/x")})
        answers[called] = landing_of(view, q=called[:100], workload="")
    read = _Reader(answers[cut(name)].body)
    assert read.tags == _Reader(answers["plain"].body).tags
    assert not [attribute for attribute, _ in read.attributes if attribute.startswith("on")]
    assert {value[0] for attribute, value in read.attributes if attribute == "href"} <= set("/#d")
    page = answers[cut(name)].body.decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page)
    assert len(page) < 40_000


@pytest.mark.parametrize("count", [0, 3, 200, 2000])
def test_page_is_bounded_and_says_what_it_leaves_out(count: int) -> None:
    """At most 300 KiB, whatever there is; each workload is drawn, or named, or counted."""
    page = landing_of(crowded(count)).body.decode()
    assert len(page.encode()) <= 300 * 1024
    drawn = page.count('class="strip"')
    left_out = re.search(r"([\d,]+) workloads? left out here", page)
    assert drawn + int(left_out[1].replace(",", "") if left_out else 0) == count + 1
    unnamed = re.search(r"([\d,]+) more are not even named", page)
    named = len(set(re.findall(r"<bdi[^>]*>(/system.slice/workload-\d+.service)", page)))
    others = int(unnamed[1].replace(",", "")) if unnamed else 0  # "everybody else" among them
    assert named + others == count + bool(unnamed)


def test_no_name_makes_the_page_big() -> None:
    """Two thousand workloads of the longest and worst names there can be fit 300 KiB too."""
    names = [cut(f"{number}" + "\x01<" * 200) for number in range(2000)]
    violations = tuple(violation(name, 1 + 30 * n) for n, name in enumerate(names))
    violations += tuple(violation(names[0], 1 + 30 * n) for n in range(2000))
    view = view_of(ENFORCED, violations=violations, violation_kinds=4000)
    assert len(landing_of(view).body) <= 300 * 1024


def test_page_of_a_thousand_constraints_is_bounded() -> None:
    """A thousand scattered ranges make no page of more than 300 KiB either."""
    constraints = "".join(
        f"  - {{name: c{n}, except: {{unit: u{n}.service}}, deny: [{1024 + 60 * n}/tcp], "
        f"reason: {'long ' * 40}}}\n"
        for n in range(1000)
    )
    view = crowded(200, f"version: 1\nmode: enforce\nconstraints:\n{constraints}")
    assert len(landing_of(view).body) <= 300 * 1024


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"workload": "/system.slice/workload-00?.service"}, 10),
        ({"workload": "/system.slice/workload-007.service"}, 1),
        ({"q": "LOAD-01"}, 10),
        ({"q": "01", "workload": "*-01[0-4]*"}, 5),
        ({"workload": "nobody"}, 0),
    ],
)
def test_filter_chooses_workloads(query: dict[str, str], shown: int) -> None:
    """`workload` takes a name or a glob, `q` letters in any case; both narrow map and tables."""
    page = landing_of(crowded(40), **query).body.decode()
    assert page.count('class="strip"') == shown
    assert page.count("2379/tcp</a>") == shown
    if not shown:
        assert "No workload here is called so" in page


def test_filter_shows_ranges_as_a_table() -> None:
    """A few workloads have their exact ranges in words too, each with its explanation."""
    page = landing_of(view_of(ENFORCED), workload="everybody else").body.decode()
    assert [f">{ports}/tcp+udp</a>" in page for ports in ("1–2378", "2379–2380")] == [True] * 2
    assert 'href="/explain?workload=everybody+else&amp;protocol=tcp&amp;port=2379"' in page
    assert "kept for unit etcd.service" in page


def test_refused_policy_is_told() -> None:
    """A policy that was refused is on the page with its errors, while the other stays in force."""
    view = view_of(ENFORCED, refusal=Refusal(1040.0, ("policy.yaml:3:1: <bad>",)))
    page = landing_of(view).body.decode()
    assert "policy.yaml:3:1: &lt;bad&gt;" in page
    assert "1\N{NO-BREAK SPACE}min\N{NO-BREAK SPACE}ago a policy was refused" in page


def test_violation_links_to_its_explanation() -> None:
    """A violation leads to /explain with its workload, protocol, port and constraint."""
    view = view_of(ENFORCED, violations=(violation("a b&c", 2379),))
    link = "/explain?workload=a+b%26c&amp;protocol=tcp&amp;port=2379&amp;constraint=no-etcd"
    page = landing_of(view).body.decode()
    assert page.count(f'href="{link}"') == 2, "on the strip and in the table"
    assert "not yours" in page


def test_nothing_runs_and_nothing_is_fetched() -> None:
    """No script, no resource of elsewhere, and a policy that would block them."""
    answer = landing_of(crowded(3))
    assert answer.status is HTTPStatus.OK
    assert answer.content_type == "text/html; charset=utf-8"
    page = answer.body.decode()
    assert "<script" not in page
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"""(?:src|href|url\()=?["'(]?(?:https?:)?//""", page)


@pytest.mark.parametrize(("asked", "given"), [("30", "30"), ("1", "5"), ("99999", ""), ("x", "")])
def test_refresh_only_where_asked(asked: str, given: str) -> None:
    """The page loads itself again only where the URL asks for it, and not too often."""
    page = landing_of(view_of(ENFORCED), refresh=asked).body.decode()
    found = re.search(r'<meta http-equiv="refresh" content="(\d+)">', page)
    assert (found[1] if found else "") == given


def test_nobody_pays_for_a_page_that_is_not_opened() -> None:
    """The agent imports what makes the pages when somebody first looks."""
    code = "import sys, portwatch.cli.serve; sys.exit(any(m in sys.modules for m in sys.argv[1:]))"
    lazy = [f"portwatch.agent.web.{name}" for name in ("overview", "look", "markup", "page")]
    assert subprocess.run([sys.executable, "-c", code, *lazy], check=False).returncode == 0
