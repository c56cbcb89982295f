"""Who has a port on this machine now."""

from __future__ import annotations

import os
from typing import Any

from portwatch.agent.events.collision import is_in_reach
from portwatch.agent.events.process import holding_process
from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.containers import ContainerBook
from portwatch.errors import KernelError
from portwatch.node.listeners import Listener, find_listeners
from portwatch.node.namespaces import find_namespaces
from portwatch.node.paths import HostPaths
from portwatch.node.published_ports import PublishedPort, find_published
from portwatch.policy.reading import Endpoint


def sockets_on(endpoint: Endpoint) -> list[Listener]:
    """The sockets of the host's network that listen on a port, or, for UDP, are bound to it; none
    where one may not look, which needs root."""
    if os.geteuid() != 0 or endpoint.port == 0:
        return []
    try:
        listing = find_listeners()
    except (KernelError, OSError):
        return []
    return [
        one
        for one in listing.listeners
        if (one.protocol, one.port) == (endpoint.protocol, endpoint.port) and one.is_host_network
    ]


def published_on(endpoint: Endpoint) -> tuple[list[PublishedPort], list[str]]:
    """The NAT rules of the host's network that take what a bind there would be for, and why they
    may not be read; neither for who is not root, and may look at nothing."""
    if os.geteuid() != 0 or endpoint.port == 0:
        return [], []
    host = HostPaths()
    namespaces = [one for one in find_namespaces(host) if one.is_host]
    published, unread = find_published(host, namespaces)
    return [one for one in published if shadows(one, endpoint)], unread


def shadows(one: PublishedPort, endpoint: Endpoint) -> bool:
    """Whether it takes what comes in for a socket that is bound so; from loopback nothing does."""
    takes_port = one.takes(endpoint.protocol, endpoint.port)
    return takes_port and is_in_reach(endpoint.address, one.rule.families, one.rule.address)


def socket_facts(one: Listener) -> dict[str, Any]:
    """Whose a socket is, in the words of events; what is not known is absent."""
    cgroup = one.holder.cgroup if one.holder else one.made_in or "/"
    facts: dict[str, Any] = {
        "address": one.address,
        "workload": {"name": shown_name(cgroup, ContainerBook()), "cgroup": cgroup},
    }
    if one.holder is not None:
        facts["process"] = holding_process(one.holder)
        facts["since"] = one.holder.since
    return facts
