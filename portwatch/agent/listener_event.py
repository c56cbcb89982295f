"""A surveyed listener as users read it: the `listener` event of CONTRACT §4."""

from __future__ import annotations

from portwatch.agent.event_format import Event, workload_of_cgroup
from portwatch.agent.process_event import holding_process
from portwatch.agent.survey import Surveyed
from portwatch.node.namespaces import network_name


def listener_event(one: Surveyed) -> Event:
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
    return {**event, **listener_facts(one), "count": 1}


def listener_facts(one: Surveyed) -> Event:
    """What has which port: the part that every event about a listener has."""
    listener = one.listener
    facts: Event = {
        "bind": {
            "protocol": listener.protocol,
            "family": listener.family,
            "address": listener.address,
            "port": listener.port,
            "network": network_name(listener.network, listener.is_host_network),
        }
    }
    if listener.made_in is not None and listener.made_in != one.cgroup:
        facts["socket_workload"] = workload_of_cgroup(listener.made_in)
    facts["workload"] = {"name": one.workload, **workload_of_cgroup(one.cgroup)}
    if listener.holder is not None:
        facts["process"] = holding_process(listener.holder)
        facts["since"] = listener.holder.since
    return facts
