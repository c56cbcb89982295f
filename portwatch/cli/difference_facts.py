"""What changes between two policies, for machines."""

from __future__ import annotations

from collections.abc import Mapping

from portwatch.cli.difference_table import port_word
from portwatch.policy.difference.compare import Comparison
from portwatch.policy.difference.difference import Region
from portwatch.policy.difference.endpoints import Area
from portwatch.policy.difference.workloads import SubjectSet
from portwatch.policy.reading import Endpoint
from portwatch.policy.tables.lookups import VERDICTS
from portwatch.policy.tables.outcomes import Outcome
from portwatch.policy.words.addresses import V6_ONLY_WILDCARD, V6_WILDCARD
from portwatch.policy.workload import KnownPod, Selector, Subject


def difference_facts(difference: Comparison) -> dict[str, object]:
    """Everything, as JSON has it; what is unknown or does not matter is absent."""
    return {
        "differs": bool(difference.regions),
        "complete": difference.is_complete,
        "verdicts_complete": difference.has_all_verdicts,
        "regions": [_region(region) for region in difference.regions],
    }


def _region(region: Region) -> dict[str, object]:
    facts: dict[str, object] = {
        "verdict_changes": region.changes_verdict,
        "before": _outcome(region.old),
        "after": _outcome(region.new),
        "workloads": [_subjects(who) for who in region.subjects],
        "endpoints": [_area(area) for area in region.areas],
    }
    if region.declared is not None:
        facts["declared"] = region.declared
    if region.example:
        subject, endpoint = region.example
        facts["example"] = {"workload": _subject(subject), "bind": _bind(endpoint, subject)}
    return facts


def _outcome(outcome: Outcome) -> dict[str, object]:
    facts = {
        "verdict": VERDICTS[outcome.verdict],
        "constraint": outcome.constraint,
        "errno": outcome.errno,
    }
    return _known(facts)


def _subjects(who: SubjectSet) -> dict[str, object]:
    networks = {None: None, True: "host", False: "other"}
    return _known(
        {
            "text": who.text(),
            "matching": [_selector(selector) for selector in who.matching],
            "not_matching": [_selector(selector) for selector in who.failing],
            "network": networks[who.host_network],
        }
    )


def _selector(selector: Selector) -> dict[str, list[str | int]]:
    return {key: list(getattr(selector, key)) for key in selector.given_keys}


def _area(area: Area) -> dict[str, object]:
    return {
        "kind": area.kind,
        "protocols": list(area.protocols),
        "ports": [port_word(*ports) for ports in area.ports],
        "addresses": list(area.addresses.words),
        "not_addresses": list(area.addresses.but),
    }


def _subject(subject: Subject) -> dict[str, object]:
    container = subject.container
    return _known(
        {
            "cgroup": subject.cgroup,
            "container": container.name if container else None,
            "pod": pod_facts(subject.pod) if subject.pod else None,
            "images": list(container.images) if container and container.images else None,
            "user": subject.user,
            "uid": subject.uid,
            "group": subject.group,
            "gid": subject.gid,
        }
    )


def pod_facts(pod: KnownPod) -> dict[str, object]:
    """A pod, as events have it."""
    told = {"namespace": pod.namespace, "name": pod.name, "service_account": pod.service_account}
    return {**told, "labels": dict(pod.labels)}


def _bind(endpoint: Endpoint, subject: Subject) -> dict[str, object]:
    v6_only = endpoint.address == V6_WILDCARD
    return {
        "protocol": endpoint.protocol,
        "port": endpoint.port,
        "address": V6_ONLY_WILDCARD if v6_only else str(endpoint.address),
        "picked": endpoint.picked,
        "listening": endpoint.listening,
        "network": "host" if subject.host_network else "other",
    }


def _known(facts: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in facts.items() if value is not None}
