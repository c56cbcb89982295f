"""The explanation of one bind: all that /explain says, as records and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from portwatch.agent.events.collision import is_in_reach
from portwatch.agent.survey.report import PublishedSpan
from portwatch.agent.web.bind_query import BindQuery
from portwatch.agent.web.view import InForce
from portwatch.agent.web.whose import Meant
from portwatch.policy.catalog.entry import CatalogEntry
from portwatch.policy.decide import Decision, Step, explain
from portwatch.policy.explanation import explanation_facts
from portwatch.policy.owners import Owner, catalog_sets, owners
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.permitted import ANY_ADDRESS, Permitted, permitted
from portwatch.policy.words.addresses import ADDRESS_WORDS
from portwatch.policy.words.port_text import range_text
from portwatch.policy.words.ports import PortRange

LISTED = "addresses that the policy lists"
"""Stands for them: a page names no addresses but the language's words and the one asked about."""


@dataclass(frozen=True)
class Explained:
    """The verdict and why, what else the workload may have, and whose the port is; `publishers`:
    who has NAT take what comes in for it."""

    decision: Decision
    steps: list[Step]
    may_bind: list[Permitted]
    owners: list[Owner]
    catalog: list[CatalogEntry]
    publishers: list[str]

    def as_json(self, asked: BindQuery, meant: Meant) -> dict[str, Any]:
        """As `portwatch explain --json`, without what only root may see; nothing is null."""
        decision = self.decision
        facts = {
            "verdict": decision.verdict,
            "constraint": decision.constraint,
            "errno": decision.errno,
            "reason": decision.reason,
            "workload": asked.workload,
            "protocol": asked.endpoint.protocol,
            "port": asked.endpoint.port or "ephemeral",
            "address": asked.address,
            "note": meant.note or None,
            "steps": [
                {"name": s.name, "applies": s.applies, "effect": s.effect, "why": s.why}
                for s in self.steps
            ],
            **explanation_facts(self.may_bind, self.owners, self.catalog),
            "published": [{"source": source} for source in self.publishers],
        }
        return {key: value for key, value in facts.items() if value not in (None, [])}


def explain_bind(
    in_force: InForce, published: Iterable[PublishedSpan], asked: BindQuery, meant: Meant
) -> Explained:
    """By the policy in force; `published` in the host's network."""
    policy, endpoint = in_force.policy, asked.endpoint
    decision, steps = explain(policy, meant.subject, endpoint)
    found = permitted(in_force.compiled, meant.subject, asked.address, endpoint.address)
    return Explained(
        decision,
        steps,
        [_with_words(one, asked.address) for one in found],
        owners(policy, endpoint),
        catalog_sets(endpoint.protocol, endpoint.port) if endpoint.port else [],
        _publishers(published, endpoint) if meant.subject.host_network else [],
    )


def ranges_of(one: Permitted, protocol: str) -> list[str]:
    """The ports of one protocol, as policies write them."""
    return [
        range_text(PortRange(r.first, r.last)) for r in one.ports if r.protocol in (None, protocol)
    ]


def _publishers(published: Iterable[PublishedSpan], endpoint: Endpoint) -> list[str]:
    sources = [
        source
        for _, protocol, family, address, first, last, source in published
        if protocol == endpoint.protocol
        and first <= endpoint.port <= last
        and is_in_reach(endpoint.address, (family,), address or None)
    ]
    return list(dict.fromkeys(sources))


def _with_words(one: Permitted, asked: str) -> Permitted:
    known = {*ADDRESS_WORDS, ANY_ADDRESS, asked}
    words = [word if word in known else LISTED for word in one.addresses]
    return Permitted(tuple(dict.fromkeys(words)), one.ports)
