"""What was learned gives no finding: what is odd, and was seen so, is accepted where it stands."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from learned_ground import LOOPBACK, seen, seen_binds, verdict
from policy_strategies import ACCOUNTS, policies

from portwatch.errors import UsageError
from portwatch.policy.learn.acceptance import TRUE_OF_WHAT_WAS_SEEN, accepting
from portwatch.policy.learn.bind import SeenBind
from portwatch.policy.learn.constraints import learn
from portwatch.policy.learn.merge import extend
from portwatch.policy.learn.text import policy_text
from portwatch.policy.lint.accepted import divide
from portwatch.policy.lint.finding import Finding
from portwatch.policy.lint.lint import lint
from portwatch.policy.lint.local_ports import LocalPorts, in_local_range
from portwatch.policy.model import Policy
from portwatch.policy.source.load import parse_policy

SHOP, OTHER = "/system.slice/shop.service", "/system.slice/other.service"
LOCAL = LocalPorts(8006, 8900, ((8008, 8008),))
"""Where the kernel picks ports: among those that seen_binds has by number."""

ODD = (80, 443, 2379, 5432, 22, *range(8000, 8012))


def policy_of(text: str) -> Policy:
    """A policy as read back."""
    return parse_policy([("learned.yaml", text)])


def learned(binds: list[SeenBind], slack: int = 2) -> str:
    """The text that `learn` prints."""
    return policy_text(accepting(learn(binds, slack), LOCAL), slack)


def divided(policy: Policy) -> tuple[list[Finding], list[Finding]]:
    """All findings of a policy, open and accepted, on a machine that picks from LOCAL."""
    return divide(policy, [*lint(policy), *in_local_range(policy, LOCAL)])


def crowded() -> st.SearchStrategy[list[SeenBind]]:
    """Binds of which many share a port, or have one of the catalog's."""
    odd = st.builds(lambda bind, port: bind._replace(port=port), seen_binds(), st.sampled_from(ODD))
    return st.lists(seen_binds() | odd, min_size=1, max_size=14)


@settings(max_examples=400, deadline=None)
@given(crowded(), st.integers(1, 4))
def test_what_was_learned_has_no_finding(binds: list[SeenBind], slack: int) -> None:
    """Whoever shares with whom, whatever port it is: `check --strict` passes, and every bind that
    was seen is allowed."""
    policy = policy_of(learned(binds, slack))
    open_, meant = divided(policy)
    assert open_ == []
    assert {one.id for one in meant} <= {*TRUE_OF_WHAT_WAS_SEEN}
    enforced = policy.with_mode("enforce")
    assert {verdict(enforced, bind) for bind in binds} == {"allowed"}


@settings(max_examples=150, deadline=None)
@given(crowded())
def test_accepting_changes_no_verdict(binds: list[SeenBind]) -> None:
    """Without its `accept` the policy is what it was, but for its findings."""
    text = learned(binds)
    bare = re.sub(r"    accept:\n(      - .*\n)+", "", text)
    assert "accept" not in bare
    with_, without = policy_of(text), policy_of(bare)
    assert [one.allow for one in with_.constraints] == [one.allow for one in without.constraints]
    assert policy_text(learn(binds), 2) == bare
    assert bool(divided(without)[0]) == ("accept" in text)


@settings(max_examples=150, deadline=None)
@given(policies(), crowded())
def test_a_merge_adds_no_finding(text: str, binds: list[SeenBind]) -> None:
    """Whatever policy is extended: none of the kinds that learn knows, at what came or between that
    and what was there."""
    before = policy_of(text)
    try:
        done = extend("learned.yaml", text, binds, ACCOUNTS, 2, LOCAL)
    except UsageError:
        return
    after = policy_of(done.text)
    known = {_told(one) for one in divided(before)[0] if one.id in TRUE_OF_WHAT_WAS_SEEN}
    now = {_told(one) for one in divided(after)[0] if one.id in TRUE_OF_WHAT_WAS_SEEN}
    assert now <= known
    new = {one.name for one in done.added}
    told = [one for one in divided(after)[0] if one.id == "accepts-nothing"]
    assert not [one for one in told if one.reason.partition(":")[0] in new]


def _told(finding: Finding) -> tuple[str, str]:
    return finding.id, finding.reason.partition(":")[0]


def test_two_that_share_say_so() -> None:
    """Both, each with the other's name; a third one with ports of its own says nothing."""
    binds = [seen(SHOP, 21080), seen(OTHER, 21080), seen("/system.slice/c.service", 21081)]
    assert [
        line for line in learned(binds).splitlines() if "accept" in line or "shared" in line
    ] == [
        *("    accept:", "      - shared-ports # 21080/tcp with shop"),
        *("    accept:", "      - shared-ports # 21080/tcp with other"),
    ]


def test_a_port_of_the_catalog_says_whose() -> None:
    """What is not etcd and has etcd's port; etcd itself has nothing to say."""
    text = learned([seen(SHOP, 2379, LOOPBACK), seen("/system.slice/etcd.service", 2380)])
    assert text.count("accept:") == 1
    assert "      - catalog-overlap # 2379/tcp of catalog:etcd\n" in text


def test_a_port_that_the_kernel_may_pick_says_so() -> None:
    """A number among those; not one that is reserved."""
    assert "accept" not in learned([seen(SHOP, 8008)])
    text = learned([seen(SHOP, 8011)])
    assert "- ephemeral-range # 8011, of which the kernel picks for clients\n" in text


def test_what_is_seen_no_more_is_found() -> None:
    """Once the other one is gone from the policy, what this one accepts is told."""
    text = learned([seen(SHOP, 21080), seen(OTHER, 21080)])
    alone = text[: text.index("  - name: other")] + text[text.index("  - name: shop") :]
    (found,) = divided(policy_of(alone))[0]
    assert found.id == "accepts-nothing"


def test_a_flow_list_says_it_too() -> None:
    """Where the file that is extended is written so."""
    text = "constraints: [\n  {name: shop, for: {unit: shop.service}, allow: [21080]},\n]\n"
    done = extend("p.yaml", text, [seen(OTHER, 21080)], ACCOUNTS, 1)
    assert "  # shared-ports: 21080/tcp with shop\n" in done.text
    assert "accept: [shared-ports]" in done.text
    assert divided(policy_of(done.text))[0] == []
