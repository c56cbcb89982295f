"""A surveyed listener as users read it: the `listener` event of CONTRACT §4."""

from __future__ import annotations

from portwatch.agent.events.format import Event
from portwatch.agent.events.process import holding_process
from portwatch.agent.events.workload import network_parts, workload_parts
from portwatch.agent.identity.containers import ContainerBook
from portwatch.agent.survey.survey import Surveyed


def listener_event(one: Surveyed, book: ContainerBook) -> Event:
    """All but `time`; what is not known is absent. `since` is when the process started."""
    decision = one.decision
    event: Event = {"kind": "listener"}
    if decision is not None:
        event["verdict"] = decision.verdict
        if one.violates:
            event["constraint"] = decision.constraint
            if decision.reason:
                event["reason"] = decision.reason
        if decision.verdict == "denied":
            event["errno"] = decision.errno
    return {**event, **listener_facts(one, book), "count": 1}


def listener_facts(one: Surveyed, book: ContainerBook) -> Event:
    """What has which port: the part that every event about a listener has."""
    listener = one.listener
    facts: Event = {
        "bind": {
            "protocol": listener.protocol,
            "family": listener.family,
            "address": listener.address,
            "port": listener.port,
            **network_parts(listener.network, listener.is_host_network, book),
        }
    }
    if listener.made_in is not None and listener.made_in != one.cgroup:
        facts["socket_workload"] = workload_parts(listener.made_in, book)
    facts["workload"] = {"name": one.workload, **workload_parts(one.cgroup, book)}
    if listener.holder is not None:
        facts["process"] = holding_process(listener.holder)
        facts["since"] = listener.holder.since
    return facts
