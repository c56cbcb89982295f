"""An existing policy, extended by what was seen, and otherwise as it was to the last character."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_ground import LOOPBACK, seen, seen_binds, verdict
from policy_strategies import ACCOUNTS, binds, policies

from portwatch.errors import PolicyError, UsageError
from portwatch.policy.decide import decide
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.merge import Extended, extend
from portwatch.policy.source.load import parse_policy

SHOP = "/system.slice/shop.service"
OTHER = "/system.slice/other.service"
BLOCK = """\
# Ours.
version: 1   # of the language
mode: enforce

constraints:
  # The shop's own ports.
  - name: shop
    for: {unit: shop.service}
    allow:
      - 80   # web

  # Nobody's.
  - name: no-telnet
    deny: [23]
    reason: |
      # not a comment

      clear text
# The end.
"""


def merged(text: str, *seen_before: SeenBind, slack: int = 1) -> Extended:
    """The policy extended by these."""
    return extend("policy.yaml", text, seen_before, ACCOUNTS, slack)


def added_lines(before: str, after: str) -> list[str]:
    """The lines that came; none may go, and none may change."""
    lines = list(difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True)))
    assert not [line for line in lines if line.startswith("- ")]
    return [line[2:].rstrip("\r\n") for line in lines if line.startswith("+ ")]


def names(text: str) -> list[str]:
    """Its constraints, in order."""
    return [one.name for one in parse_policy([("policy.yaml", text)]).constraints]


def test_a_workload_that_nothing_speaks_of_comes_last() -> None:
    """It gets a constraint of its own, which records though the policy enforces."""
    done = merged(BLOCK, seen(OTHER, 9000))
    assert names(done.text) == ["shop", "no-telnet", "other"]
    assert added_lines(BLOCK, done.text) == [
        "  - name: other",
        "    for: {unit: other.service}",
        "    addresses: [wildcard]",
        "    allow:",
        "      - 9000/tcp # 1 bind as root",
        "    mode: record",
    ]
    assert done.text.endswith("    mode: record\n# The end.\n")


def test_a_list_that_is_too_short_is_extended_before_it() -> None:
    """By a constraint that allows what was seen and leaves the rest to the one that follows."""
    done = merged(BLOCK, seen(SHOP, 80), seen(SHOP, 8443))
    assert names(done.text) == ["shop-2", "shop", "no-telnet"]
    assert "    otherwise: continue\n  # The shop's own ports.\n  - name: shop\n" in done.text
    assert "8443/tcp" in "".join(added_lines(BLOCK, done.text))
    assert "80/tcp" not in done.text
    policy = parse_policy([("policy.yaml", done.text)])
    assert [verdict(policy, seen(SHOP, port)) for port in (80, 8443, 8444)] == [
        *("allowed", "allowed"),
        "denied",
    ]


def test_what_a_deny_list_refuses_stays_refused() -> None:
    """Nothing is learned past it, and it is said."""
    done = merged(BLOCK, seen(OTHER, 23))
    assert (done.text, done.added, done.refused) == (BLOCK, (), (seen(OTHER, 23),))


def test_what_is_allowed_adds_nothing() -> None:
    """The file stays as it is, also when it is extended a second time."""
    assert merged(BLOCK, seen(SHOP, 80)).text == BLOCK
    again = (seen(OTHER, 9000), seen(SHOP, 8443), seen(SHOP, 0), seen(OTHER, 0, LOOPBACK))
    once = merged(BLOCK, *again).text
    assert merged(once, *again).text == once


def test_picked_ports_go_before_what_ends_the_reading() -> None:
    """A bind to port 0 is let through, but what then listens would not be."""
    done = merged(BLOCK, seen(SHOP, 0))
    assert names(done.text) == ["shop-2", "shop", "no-telnet"]
    assert "- ephemeral/tcp" in done.text


SHOPS = "{name: shop, for: {unit: shop.service}, allow: [80]}"
LINE = "\n    "
STYLES = {
    "block": BLOCK,
    "no final newline": BLOCK.removesuffix("# The end.\n").rstrip("\n"),
    "windows": BLOCK.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + BLOCK,
    "flush left": f"constraints:\n- {SHOPS}\nmode: enforce\n",
    "dash alone": f"mode: enforce\nconstraints:\n  -\n    {SHOPS[1:-1].replace(', ', LINE)}\n",
    "one flow line": f"{{constraints: [{SHOPS}], mode: enforce}}",
    "flow items": f"mode: enforce\nconstraints:\n  - {SHOPS}",
    "flow list": """\
mode: enforce
constraints: [ # ours
  {name: shop, for: {unit: shop.service}, allow: [80]},   # the shop's

  {name: no-telnet, deny: [23], reason: "a # ] in it"},  # nobody's
] # the end
""",
    "keys after it": f"constraints:\n  - {SHOPS}\n\n# why\nmode: enforce\n",
    "end marker": f"---\nmode: enforce\nconstraints:\n- {SHOPS}\n...\n",
    "brackets of less indent": (f"mode: enforce\nconstraints:\n  - {SHOPS[:-4]}\n80\n]}}\n# end\n"),
}


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    """However the file is laid out, it is extended where it should be, and no line of it goes."""
    text = STYLES[style]
    done = merged(text, seen(SHOP, 8443), seen(OTHER, 9000))
    before = names(text)
    assert names(done.text) == ["shop-2", *before, "other"]
    assert not done.refused
    kept = [line.strip() for line in text.splitlines() if line.strip() and style[:8] != "one flow"]
    assert [line for line in kept if line not in done.text] == []
    if style == "windows":
        assert "\n" not in done.text.replace("\r\n", "")
    policy = parse_policy([("policy.yaml", done.text)])
    assert verdict(policy, seen(SHOP, 8444)) == "denied"


@pytest.mark.parametrize(
    "text", ["version: 1\n", "version: 1\nconstraints: []\n", "{version: 1, constraints: []}"]
)
def test_a_policy_without_constraints(text: str) -> None:
    """It gets its first."""
    assert names(merged(text, seen(OTHER, 9000)).text) == ["other"]


def test_a_file_that_cannot_be_extended() -> None:
    """It is said, and what to do; nothing is guessed."""
    with pytest.raises(UsageError, match="without writing it anew"):
        merged("{version: 1}", seen(OTHER, 9000))
    with pytest.raises(PolicyError):
        merged("version: 2\n", seen(OTHER, 9000))


@settings(max_examples=150, deadline=None)
@given(policies(), st.lists(seen_binds(), min_size=1, max_size=6), st.integers(0, 1 << 32))
def test_all_else_is_decided_as_before(text: str, seen_before: list[SeenBind], seed: int) -> None:
    """Whatever the policy: what was seen is allowed or named as refused, and a bind of a workload
    that was not seen gets what it got before."""
    before = parse_policy([("policy.yaml", text)])
    done = merged(text, *seen_before)
    after = parse_policy([("policy.yaml", done.text)])
    for bind in seen_before:
        assert verdict(after, bind) == "allowed" or bind in done.refused
        assert bind not in done.refused or verdict(before, bind) != "allowed"
    old = {one.name for one in before.constraints}
    added = [one for one in after.constraints if one.name not in old]
    assert {one.name for one in added} == {one.name for one in done.added}
    meant = [selector for one in added for selector in one.subject_for or ()]
    for who, endpoint in binds(before, seed, 60):
        if not any(selector.matches(who) for selector in meant):
            assert decide(after, who, endpoint) == decide(before, who, endpoint)
