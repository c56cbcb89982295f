"""Who has a port on this machine now."""

from __future__ import annotations

import os
from typing import Any

from portwatch.agent.events.process import holding_process
from portwatch.agent.events.workload import shown_name
from portwatch.agent.identity.containers import ContainerBook
from portwatch.errors import KernelError
from portwatch.node.listeners import Listener, find_listeners
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
