"""Listeners whose port NAT gives to somebody else: nothing from outside ever reaches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from portwatch.agent.events.collision import overlap, reach_of, reach_of_rule
from portwatch.agent.events.format import Event
from portwatch.agent.events.listener import listener_facts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.survey.survey import Surveyed
from portwatch.node.published_ports import PublishedPort

PUBLISHERS = frozenset(
    (
        *("docker-proxy", "dockerd", "conmon", "podman", "rootlessport", "nerdctl"),
        *("kube-proxy", "k3s-server", "k3s-agent", "kubelite"),
    )
)
"""Processes that hold a port which they publish themselves, so that nobody else binds it."""

Pair = tuple[Surveyed, PublishedPort]


def find_shadowed(
    surveyed: Iterable[Surveyed], published: Iterable[PublishedPort]
) -> Iterator[Pair]:
    """Each listener of which NAT takes the traffic, with the first rule that does.

    Loopback is spared: what this machine sends to itself most often passes no such rule. So are
    UDP sockets on ports that the kernel picked.
    """
    by_network: dict[tuple[int, str], list[PublishedPort]] = {}
    for rule in published:
        by_network.setdefault((rule.network, rule.rule.protocol), []).append(rule)
    for one in surveyed:
        listener = one.listener
        rules = by_network.get((listener.network, listener.protocol), ())
        is_picked = listener.in_local_range and listener.state == "bound"
        if not rules or is_picked or one.scope == "loopback" or _is_publisher(one):
            continue
        for rule in rules:
            taken = reach_of_rule(rule.rule.families, rule.rule.address)
            if rule.takes(listener.protocol, listener.port) and overlap(reach_of(listener), taken):
                yield one, rule
                break


def shadowed_event(one: Surveyed, rule: PublishedPort, book: ContainerBook) -> Event:
    """The `collision` event; its holder is a rule, not a process."""
    return {
        "kind": "collision",
        "published": True,
        **listener_facts(one, book),
        "holder": rule.facts(),
        "count": 1,
    }


def shadowed_series(pairs: Iterable[Pair]) -> Counter[tuple[str, str, str, str]]:
    """Sockets by workload, protocol, port and source."""
    return Counter(
        (one.workload, one.listener.protocol, str(one.listener.port), rule.rule.source)
        for one, rule in pairs
    )


def _is_publisher(one: Surveyed) -> bool:
    holder = one.listener.holder
    return holder is not None and holder.comm in PUBLISHERS
